"""Code of the user's own: from an importable module, from a file by its path, or an object that a program has passed.

`my_pkg.my_env:MyEnv` is imported; `./my_env.py:MyEnv` is a file that nobody needs to install;
`from-python:MyEnv` stands in a config for a class that was passed to `palaestra.train`.
"""

from __future__ import annotations

import ast
import copy
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import PathFinder
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import gymnasium

# What a name begins with that stands for a passed object. No module can be called so.
FROM_PYTHON = "from-python:"

_given: ContextVar[Mapping[str, Any]] = ContextVar("given", default=MappingProxyType({}))
_loading = threading.RLock()
# Files that this process has loaded: the module, and the hash of what it was made of.
_loaded: dict[Path, tuple[ModuleType, str]] = {}


@contextmanager
def given_objects(objects: Mapping[str, Any]) -> Iterator[None]:
    """Let names that begin with `FROM_PYTHON` stand for these objects, in this thread, until the context ends."""
    token = _given.set({**_given.get(), **objects})
    try:
        yield
    finally:
        _given.reset(token)


def given_object(name: str) -> Any | None:
    """Return the object that a name stands for; None where it stands for none, or nobody has passed it here."""
    return _given.get().get(name)


def is_from_python(name: str) -> bool:
    """Whether a name stands for an object that a program passed."""
    return name.startswith(FROM_PYTHON)


def not_given(kind: str, name: str) -> str:
    """What is said of a name whose object is not here."""
    thing = name.removeprefix(FROM_PYTHON)
    keyword = "env" if kind == "environment" else kind
    return (
        f"{kind} {thing!r} was an object in a Python program, which no file can hold: go on in Python, with "
        f"palaestra.load(RUN_DIR, {keyword}={thing})"
    )


def is_file(module: str) -> bool:
    """Whether what stands before the colon of a name is a path of a Python file."""
    return module.endswith(".py")


def absolute_name(name: str) -> str:
    """The same name with the absolute path of the file, where it names one; arguments may follow it."""
    path, bracket, arguments = name.partition("(")
    module, colon, attribute = path.rpartition(":")
    if not is_file(module):
        return name
    return f"{absolute_path(Path(module))}{colon}{attribute}{bracket}{arguments}"


def absolute_path(path: Path) -> Path:
    """A file's absolute path; `~` is the user's own folder, links are left as they are."""
    return Path(os.path.abspath(path.expanduser()))


def short_name(name: str) -> str:
    """A name to be read by people: of a file without its folders, of a passed object without its prefix."""
    path, bracket, arguments = name.partition("(")
    module, colon, attribute = path.rpartition(":")
    if is_file(module):
        return f"{Path(module).name}{colon}{attribute}{bracket}{arguments}"
    return name.removeprefix(FROM_PYTHON)


def load_module(name: str) -> ModuleType:
    """Import a module by its dotted name or by the path of its file.

    Raises:
        ImportError: it is not there, or fails; the message is one line. Other errors of a dotted name are its own.
    """
    return load_file(Path(name)) if is_file(name) else importlib.import_module(name)


def load_file(path: Path, digest: str | None = None) -> ModuleType:
    """Load a Python file once a process; modules beside it can be imported, as with `python FILE`.

    A run goes on with what was loaded when its file is edited meanwhile. Where the file's name is free, it is imported
    under it, so that whoever else imports it gets the same module.

    Args:
        path: the file.
        digest: hash of what another process has loaded, with which this one shares a run.

    Raises:
        ImportError: there is no such file, it has changed, or it fails; one line that names the line.
    """
    path = absolute_path(path)
    if path in _loaded:
        return _loaded[path][0]
    if not path.is_file():
        close = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.py")], n=1)
        raise ImportError(f"there is no file {path}" + (f"; did you mean {close[0]}?" if close else ""))
    if other := _helper_from_elsewhere(path):
        raise ImportError(
            f"{path} imports {other[0]}, and another one is loaded from {other[1]}; a program can have one of them: "
            "use a process for each, or names that differ"
        )
    found = file_digest(path)
    if digest not in (None, found):
        raise ImportError(f"{path} has changed since the run began to use it")
    with _loading:
        free = path.stem.isidentifier() and _finds(path.stem) in (None, path)
        if str(path.parent) not in sys.path:
            sys.path.insert(_place_in_path(), str(path.parent))
        try:
            module = importlib.import_module(path.stem) if free else _import_beside(path)
        except Exception as error:
            raise ImportError(f"{path.name}{_line_of(path, error)}: {_in_one_line(error)}") from error
        _loaded[path] = module, found
        return module


def _place_in_path() -> int:
    """Where a file's folder belongs in `sys.path`.

    Before installed packages, and before the folders of other files, whose helpers may have the same names, but behind
    Python's own modules: a `queue.py` there must not break others.
    """
    own = os.path.dirname(os.__file__)
    behind = sys.path.index(own) + 1 if own in sys.path else 0
    others = {str(loaded.parent) for loaded in _loaded}
    for i, place in enumerate(sys.path[behind:], behind):
        if place in others or place.endswith(("site-packages", "dist-packages")):
            return i
    return len(sys.path)


def _helper_from_elsewhere(path: Path) -> tuple[str, Path] | None:
    """A module that a file means to import from beside it, but that was loaded from beside another file."""
    folders = {loaded.parent for loaded in _loaded} - {path.parent}
    waiting, seen = [path], {path}
    while waiting and folders:
        for stem in _imported_names(waiting.pop()):
            beside = path.parent / f"{stem}.py"
            present = getattr(sys.modules.get(stem), "__file__", None)
            if not beside.is_file() or beside in seen:
                continue
            if present and Path(present).parent in folders:
                return stem, Path(present)
            seen.add(beside)
            waiting.append(beside)
    return None


def _imported_names(path: Path) -> set[str]:
    """Top-level modules that a file's import statements name; none where it cannot be read, which importing reports."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    nodes = list(ast.walk(tree))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names = plain + [
        node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level
    ]
    return {name.partition(".")[0] for name in names}


def _finds(stem: str) -> Path | None:
    """The file that a top-level module's name leads to, loaded or not; None where the name is free."""
    module = sys.modules.get(stem)
    spec = None if module is not None else PathFinder.find_spec(stem)
    origin = getattr(module, "__file__", None) if module is not None else spec and spec.origin
    if module is None and spec is None and stem not in sys.stdlib_module_names:
        return None
    return Path(os.path.abspath(origin)) if origin else Path()


def _import_beside(path: Path) -> ModuleType:
    """Import a file whose name another module has, under a name of its own."""
    stem, mark = re.sub(r"\W", "_", path.stem), hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"palaestra_file_{stem}_{mark}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line_of(path: Path, error: Exception) -> str:
    """Where in a file an error comes from, as far as it tells; errors of syntax say so themselves."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {frames[-1].lineno}" if frames and not isinstance(error, SyntaxError) else ""


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class FromFile:
    """Makes an environment by what a file holds; a worker process that gets it loads the file itself."""

    def __init__(self, path: Path, attribute: str):
        self.path, self.attribute = absolute_path(path), attribute
        load_file(self.path)
        self.digest = _loaded[self.path][1]

    def __call__(self, **arguments: Any) -> Any:
        """Make one."""
        return self.made_by(**arguments)

    @property
    def made_by(self) -> Any:
        """The class or function."""
        return getattr(load_file(self.path, self.digest), self.attribute)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.made_by)


class CopyOf:
    """Makes copies of an environment object, which is itself never stepped."""

    def __init__(self, env: gymnasium.Env):
        self.env = env

    def __call__(self, **arguments: Any) -> gymnasium.Env:
        """Copy it; it takes no arguments but the `render_mode` that it was made with."""
        mode = arguments.pop("render_mode", self.env.render_mode)
        if arguments:
            raise ValueError(
                f"an environment object takes no arguments, got {', '.join(arguments)}; pass its class"
            )
        if mode != self.env.render_mode:
            raise ValueError(f"the environment object cannot be drawn: make it with render_mode={mode!r}")
        return copy.deepcopy(self.env)

    def __deepcopy__(self, memo: dict[int, Any]) -> CopyOf:
        """Itself: Gymnasium copies specs of environments, which lead here."""
        return self
