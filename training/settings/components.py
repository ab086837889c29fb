"""The file system is the registry: `ppo` is `agents/ppo.py`, `gru` is `networks/memories/gru.py`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_type_hints

from .providers import ADAPTERS, PROVIDERS, load_provider, provider_of
from .typed import is_required, plain
from .usage import UsageError, closest, nearest
from .yaml_files import dump_yaml

Kind = Literal["agent", "encoder", "memory", "auxiliary", "bonus", "reward", "observation_model", "dynamics"]

# What a run's config calls a component itself, beside its options.
NAME = "name"

# Package of our own components, and module and name of the base class.
_HOMES = {
    "agent": ("palaestra.agents", "palaestra.agents.agent", "Agent"),
    "encoder": ("palaestra.networks.encoders", "palaestra.networks.torso", "Encoder"),
    "memory": ("palaestra.networks.memories", "palaestra.networks.torso", "Memory"),
    "auxiliary": ("palaestra.agents.auxiliary", "palaestra.agents.auxiliary.auxiliary", "Auxiliary"),
    "bonus": ("palaestra.training.rewards", "palaestra.training.rewards.reward", "Bonus"),
    "reward": ("palaestra.training.rewards", "palaestra.training.rewards.reward", "Substitute"),
    "observation_model": ("palaestra.world_models", "palaestra.world_models.world_model", "ObservationModel"),
    "dynamics": ("palaestra.world_models.dynamics", "palaestra.world_models.world_model", "Dynamics"),
}
_PLURALS = {
    "agent": "agents",
    "encoder": "encoders",
    "memory": "memories",
    "auxiliary": "auxiliary losses",
    "bonus": "bonuses",
    "reward": "learned rewards",
    "observation_model": "observation models",
    "dynamics": "dynamics",
}


def component_names(kind: Kind) -> list[str]:
    """Names of our own components, found by their source: importing them would import torch."""
    package, _, base = _HOMES[kind]
    subclass = re.compile(rf"^class \w+\((?:.*[ ,.])?{base}\b.*\):", re.MULTILINE)
    sources = (entry for entry in files(package).iterdir() if entry.name.endswith(".py"))
    return sorted(
        entry.name.removesuffix(".py")
        for entry in sources
        if subclass.search(entry.read_text(encoding="utf-8"))
    )


def find_component(kind: Kind, name: str) -> type[Any]:
    """Return the class called `name`: ours, or `package.module:Class` or `FILE.py:Class` from outside.

    Names that a provider answers for (`sb3/NAME`, `world-model:RUN_DIR`) are in `providers.py`.

    Raises:
        UsageError: there is none, its module cannot be imported, or it is of another kind.
    """
    package, base_module, base_name = _HOMES[kind]
    base = getattr(importlib.import_module(base_module), base_name)
    if provider := provider_of(kind, name):
        return load_provider(provider.find)(name)
    if ":" in name:
        return _outside(kind, name, base)
    names = component_names(kind)
    if name not in names:
        close = closest(name, names)
        hint = f"; did you mean {close!r}?" if close else ""
        provider = PROVIDERS.get(kind)
        more = f", and {provider.hint}" if provider and provider.hint else ""
        raise UsageError(
            f"unknown {kind.replace('_', ' ')} {name!r}{hint} ({_PLURALS[kind]}: {', '.join(names)}{more})"
        )
    module = importlib.import_module(f"{package}.{name}")
    # Not what the module imports, nor its helpers: components are defined where they are named.
    own = (value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
    return next(value for value in own if _is_component(value, base))


def _outside(kind: Kind, name: str, base: type) -> type[Any]:
    from ...envs import outside  # imports every environment of ours

    if outside.is_from_python(name):
        if (given := outside.given_object(name)) is None:
            raise UsageError(outside.not_given(kind, name))
        return _checked(kind, name, given, base)
    module_name, _, class_name = name.rpartition(":")
    in_file = outside.is_file(module_name)
    if module_name and not in_file and not all(map(str.isidentifier, module_name.split("."))):
        raise UsageError(f"{kind} {name!r}: expected package.module:Class or FILE.py:Class")
    # As `python -m` does: the user's own folder is the most natural place for a plug-in.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = outside.load_module(module_name)
    except Exception as error:
        if in_file:
            raise UsageError(f"{kind} {outside.short_name(name)!r}: {error}") from error
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{kind} {name!r}: cannot import {module_name}: {cause}") from error
    found = getattr(module, class_name, None)
    if found is None:
        known = [
            key for key, value in vars(module).items() if _is_component(value, base) or _adapt(kind, value)
        ]
        raise UsageError(f"{kind} {name!r}: {module_name} has no {class_name}; {nearest(class_name, known)}")
    return _checked(kind, name, found, base)


def _adapt(kind: Kind, value: Any) -> type[Any] | None:
    """Return the component that stands for a class of another library; None where there is none."""
    return load_provider(ADAPTERS[kind])(value) if kind in ADAPTERS else None


def _checked(kind: Kind, name: str, found: Any, base: type) -> type[Any]:
    """Return a class from outside as a component of a kind.

    Raises:
        UsageError: it is none.
    """
    class_name = name.rpartition(":")[2]
    if (adapted := _adapt(kind, found)) is not None:
        return adapted
    if not _is_component(found, base):
        lacks = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise UsageError(
            f"{kind} {name!r}: {class_name} is not a concrete subclass of {base.__module__}.{base.__name__}"
            + (f": it lacks {lacks}" if lacks else "")
        )
    if fault := fault_of_config(getattr(found, "Config", None)):
        raise UsageError(f"{kind} {name!r}: {class_name} {fault}")
    return found


def _is_component(value: Any, base: type) -> bool:
    return inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)


def fault_of_config(config: Any) -> str | None:
    """Return what is wrong with a component's `Config`, to be said behind its name; None where nothing is."""
    if not dataclasses.is_dataclass(config):
        return "has no Config, a frozen dataclass of its settings"
    name = getattr(config, "__name__", "Config")
    if not config.__dataclass_params__.frozen:  # type: ignore[union-attr]
        return f"has a Config that is not frozen; write @dataclass(frozen=True) above {name}"
    try:
        hints = get_type_hints(config, include_extras=True)
    except Exception as error:  # imported under TYPE_CHECKING alone, for instance
        return f"has a Config whose annotations cannot be read: {type(error).__name__}: {error}"
    known = {item.name for item in dataclasses.fields(config)}
    faults = [
        f"{field}, which is no field that is kept (InitVar)"
        for field, hint in hints.items()
        if isinstance(hint, dataclasses.InitVar) and field not in known
    ]
    faults += [fault for item in dataclasses.fields(config) if (fault := _fault_of_field(item))]
    return f"has a Config with {faults[0]}" if faults else None


def _fault_of_field(item: dataclasses.Field) -> str | None:
    if item.name == NAME:
        return f"a field {NAME!r}, as a run's config calls the component itself; call it otherwise"
    if not item.init:
        return f"{item.name}, which cannot be given (init=False)"
    if is_required(item):
        return f"{item.name}, which has no default; every option needs one"
    factory = item.default_factory
    default = item.default if factory is dataclasses.MISSING else factory()
    try:
        dump_yaml({item.name: plain(default)})
    except TypeError as error:
        return (
            f"{item.name}, whose default cannot be kept: {error}; text, numbers, lists, mappings and Path can"
        )
    return None
