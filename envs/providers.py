"""Which installed package registers an id? Found in the text of packages, without importing any of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath

NEEDS_GYMNASIUM = re.compile(r"gym(nasium)?\b", re.IGNORECASE)
LARGEST_FILE = 1_000_000


def find_provider(env_id: str, seconds: float = 3.0) -> tuple[str, str] | None:
    """Return the package and the module of it that registers an id, as `module:Id` needs it; None if none was found.

    Only packages that depend on Gymnasium are read, the ones that say so first, and no longer than `seconds`.
    """
    quoted = re.compile(rf"""["']{re.escape(env_id)}["']""")
    deadline = time.perf_counter() + seconds
    for distribution in distributions():
        if not any(NEEDS_GYMNASIUM.match(requirement) for requirement in distribution.requires or ()):
            continue
        tops: dict[str, str] = {}
        for path, text in sources(distribution):
            # The files at the top of packages come first.
            top = tops.setdefault(path.parts[0].removesuffix(".py"), text)
            if quoted.search(text) and ("register" in text or "register" in top):
                return distribution.metadata["Name"], importing_module(path, top)
            if time.perf_counter() > deadline:
                return None
    return None


def sources(distribution: Distribution) -> Iterator[tuple[PurePosixPath, str]]:
    """Python files of a package with what they say; those nearest to its top first, where most register their ids."""
    files = [file for file in distribution.files or () if file.suffix == ".py" and ".." not in file.parts]
    for file in sorted(files, key=lambda file: (len(file.parts), file.name != "__init__.py")):
        path = Path(file.locate())
        try:
            if path.stat().st_size <= LARGEST_FILE:
                yield PurePosixPath(file), path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue


def importing_module(path: PurePosixPath, top: str) -> str:
    """The module to import for what a file registers: the package, if it says anything of registering, or the file."""
    inner, (package, *_) = path.with_suffix("").parts, path.parts
    names = inner[:-1] if inner[-1] == "__init__" else inner
    told = "register" in top or any(re.search(rf"\b{re.escape(name)}\b", top) for name in names[1:])
    return package.removesuffix(".py") if told else ".".join(names)
