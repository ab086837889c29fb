"""The file system is the registry: `ppo` is `agents/ppo.py`, `gru` is `networks/memories/gru.py`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from .config import UsageError, nearest

Kind = Literal["agent", "encoder", "memory"]

# Package of our own components, and module and name of the base class.
_HOMES = {
    "agent": ("palaestra.agents", "palaestra.agents.agent", "Agent"),
    "encoder": ("palaestra.networks.encoders", "palaestra.networks.torso", "Encoder"),
    "memory": ("palaestra.networks.memories", "palaestra.networks.torso", "Memory"),
}


def component_names(kind: Kind) -> list[str]:
    """Names of our own components, found by their source: importing them would import torch."""
    package, _, base = _HOMES[kind]
    subclass = re.compile(rf"^class \w+\({base}\):", re.MULTILINE)
    sources = (entry for entry in files(package).iterdir() if entry.name.endswith(".py"))
    return sorted(entry.name.removesuffix(".py") for entry in sources if subclass.search(entry.read_text()))


def find_component(kind: Kind, name: str) -> type[Any]:
    """Return the class called `name`, ours or `package.module:Class` from outside.

    Raises:
        UsageError: there is none, its module cannot be imported, or it is of another kind.
    """
    package, base_module, base_name = _HOMES[kind]
    base = getattr(importlib.import_module(base_module), base_name)
    if ":" in name:
        return _outside(kind, name, base)
    names = component_names(kind)
    if name not in names:
        raise UsageError(f"unknown {kind} {name!r}; {nearest(name, names)}")
    return _classes(importlib.import_module(f"{package}.{name}"), base)[0]


def _outside(kind: Kind, name: str, base: type) -> type[Any]:
    module_name, _, class_name = name.partition(":")
    # As `python -m` does: the user's own folder is the most natural place for a plug-in.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UsageError(f"{kind} {name!r}: cannot import {module_name}: {error!r}") from error
    classes = {found.__name__: found for found in _classes(module, base)}
    if class_name not in classes:
        raise UsageError(
            f"{kind} {name!r}: {module_name} has no such {base.__name__}; {nearest(class_name, classes)}"
        )
    return classes[class_name]


def _classes(module: Any, base: type) -> list[type[Any]]:
    """Concrete subclasses of `base` that `module` defines."""
    found = (value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, base))
    return [value for value in found if value.__module__ == module.__name__ and not inspect.isabstract(value)]
