"""The documentation as a site: the pages of the repository's root join it, and links to other files become text.

MkDocs calls these functions by name (mkdocs.org/user-guide/configuration/#hooks).
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
# Pages of the site that lie outside docs/, by their place on it.
PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root."""
    for place, source in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at the site's pages; of a file that is not on it, the text is left."""
    place = page.file.src_uri
    folder = posixpath.dirname(PAGES.get(place, f"docs/{place}"))
    sites = {source: site for site, source in PAGES.items()}

    def on_site(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in sites:
            page_of = sites[path]
        elif path.startswith("docs/") and (ROOT / path).is_file():
            page_of = path.removeprefix("docs/")
        else:
            return text
        return f"[{text}]({posixpath.relpath(page_of, posixpath.dirname(place) or '.')}{anchor})"

    return LINK.sub(on_site, markdown)
