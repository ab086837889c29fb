"""A server on this machine that answers as W&B's does, as far as logging needs it, and can hang or die."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WandbServer:
    """Keeps the history rows that it is sent, by offset; `url` is what WANDB_BASE_URL must say."""

    def __init__(self):
        self.rows = {}
        self.runs = []
        self.requests = 0
        self.hanging = threading.Event()
        self.let_go = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                self.reply({})

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                server.requests += 1
                if server.hanging.is_set():
                    server.let_go.wait()
                self.reply(server.answer(self.path, json.loads(body)))

            def do_PUT(self):  # an uploaded file
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.reply({})

            def reply(self, answer):
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda request, address: None  # a client that is gone
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, path, asked):
        if path.endswith("file_stream"):
            history = (asked.get("files") or {}).get("wandb-history.jsonl")
            if history:
                for place, line in enumerate(history["content"], history["offset"]):
                    self.rows.setdefault(place, []).append(json.loads(line))
            return {"exitcode": None, "limits": {}}
        query, variables = asked.get("query", ""), asked.get("variables") or {}
        if "upsertBucket" in query:
            self.runs.append(variables)
            name = variables.get("name") or variables.get("bucket")
            project = {"id": "p", "name": "palaestra", "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "x", "name": name, "displayName": name, "description": None, "config": None}
            bucket |= {"sweepName": None, "historyLineCount": len(self.rows), "project": project}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": not self.rows}}}
        if "RunResumeStatus" in query:
            return {"data": {"model": {"id": "p", "name": "palaestra", "bucket": self.bucket(variables)}}}
        if "iewer" in query:
            viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
            return {"data": {"viewer": viewer, "serverInfo": {"cliVersionInfo": {}, "features": []}}}
        if "ProjectInternalId" in query:
            return {"data": {"project": {"id": "p", "internalId": "7"}}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/{name}"} for name in variables["files"]]
            return {"data": {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}}
        return {"data": {"model": None, "serverInfo": {"features": []}}}

    def bucket(self, variables):
        if not self.rows:
            return None
        last = self.rows[max(self.rows)][-1]
        bucket = {"id": "x", "name": variables.get("name"), "displayName": "run", "tags": []}
        bucket |= {"historyLineCount": len(self.rows), "eventsLineCount": 0, "logLineCount": 0}
        bucket |= {"historyTail": json.dumps([json.dumps(last)]), "eventsTail": "[]"}
        return bucket | {"summaryMetrics": "{}", "config": "{}", "wandbConfig": '{"t": 1}'}

    def hang(self):
        """Take requests from now on, and answer none of them."""
        self.hanging.set()

    def die(self):
        """Be gone."""
        self.let_go.set()
        self.http.shutdown()
        self.http.server_close()
