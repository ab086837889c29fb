"""What a `Config` of a component from outside must be for its fields to be options that a file can say."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from .typed import is_required, plain
from .yaml_files import dump_yaml

# What a run's config calls the component itself, beside its options.
NAME = "name"


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
