"""A stand-in for the Hugging Face hub on loopback: takes one repository and the files of its commits."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class HubServer:
    """Answers what `create_repo` and `upload_folder` ask; all files come inside the commit."""

    def __init__(self) -> None:
        self.created: list[dict] = []
        self.files: dict[str, bytes] = {}
        self.refuse = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({"id": "me/cartpole", "sha": "0" * 40, "siblings": []})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if hub.refuse:
                    self.answer({"error": "no such user"}, 403)
                elif self.path == "/api/repos/create":
                    hub.created.append(json.loads(body))
                    self.answer({"url": f"{hub.address}/me/cartpole", "name": "me/cartpole"})
                elif "/preupload/" in self.path:
                    asked = json.loads(body)["files"]
                    modes = [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
                    ]
                    self.answer({"files": modes})
                elif "/commit/" in self.path:
                    for line in body.splitlines():
                        item = json.loads(line)
                        if item["key"] == "file":
                            content = base64.b64decode(item["value"]["content"])
                            hub.files[item["value"]["path"]] = content
                    commit = {"commitUrl": f"{hub.address}/me/cartpole/commit/1", "commitOid": "1" * 40}
                    self.answer(commit | {"pullRequestUrl": None, "success": True})
                else:
                    self.answer({})

            def answer(self, value: dict, code: int = 200) -> None:
                data = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
