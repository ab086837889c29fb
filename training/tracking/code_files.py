"""What a run's results depend on beside its config and its packages: the user's own files, known by their hashes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..settings.trust import named_in, texts_in

# Folders of installed packages, which have versions.
INSTALLED = {"site-packages", "dist-packages"}


def code_files(values: dict[str, Any]) -> dict[str, str]:
    """Hashes of the user's own files that a config leads to, by what they are called.

    Those are files of code that it names, by path or by module, what these have imported from beside them, and files
    among the environment's arguments. What is gone is left out. The modules are imported: it is for what is trusted.
    """
    from ...envs.outside import file_digest  # imports every environment of ours

    found = {}
    for called, path in _files(values):
        with suppress(OSError):
            found[called] = file_digest(path)
    return found


def _files(values: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """What files are called, and where they are."""
    from ...envs.outside import is_file, load_module

    for text in texts_in(values.get("env_kwargs")):
        with suppress(OSError, ValueError):
            if (path := Path(text).expanduser()).is_file():
                yield text, path
    for kind, name in named_in(values):
        module = "" if kind == "file" else name.partition("(")[0].rpartition(":")[0]
        if is_file(module):
            with suppress(Exception):  # it is reported where the component is made
                load_module(module)
            yield module, Path(module)
            yield from ((str(path), path) for path in _imported_beside(Path(module)))
        elif file := _file_of_module(module):
            yield name, file
            yield from ((f"{other.name}, beside {name}", other) for other in _imported_beside(file))


def _file_of_module(module: str) -> Path | None:
    """Where a module of the user's own lies; None for ours and those of installed packages."""
    if not module or module.partition(".")[0] == "palaestra":
        return None
    with suppress(Exception):  # whatever it is, it is reported where the component is made
        path = Path(importlib.import_module(module).__file__ or "")
        return None if INSTALLED & set(path.parts) else path
    return None


def _imported_beside(path: Path) -> list[Path]:
    """Files of other modules that were imported from a file's folder, or from below it."""
    paths = {
        Path(file)
        for module in list(sys.modules.values())
        if isinstance(file := getattr(module, "__file__", None), str) and file.startswith(f"{path.parent}/")
    }
    return sorted(other for other in paths - {path} if not INSTALLED & set(other.parts))
