"""Layers of options (a preset, a file, the command line), of which later ones win."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .config import BLOCKS, names_of
from .typed import option_path


def merge(*layers: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; later ones win."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key], value) if both else value
    return merged


def merge_options(*layers: dict[str, Any], blocks: Iterable[str] = BLOCKS) -> dict[str, Any]:
    """Merge options of a run. A component may be named alone (`memory: gru`) or in a block with its options.

    The last one that is named is taken; options that a layer has for another one fall away.
    """
    names: dict[str, str] = {}
    for layer in layers:
        names |= names_of(layer, blocks)
    return merge(*(for_components(layer, names) for layer in layers))


def for_components(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Give every block its component's name; options that were written for another component fall away."""
    written = names_of(values, names)
    merged = dict(values)
    for block, name in names.items():
        given = values.get(block)
        options = given if isinstance(given, dict) and written.get(block, name) == name else {}
        merged[block] = {**options, "name": name}
    return merged


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """`{"agent.learning-rate": 1}`, named as on the command line, as `{"agent": {"learning_rate": 1}}`.

    Beside options of a block, `memory: gru` is the block's name.
    """
    paths = [
        (option_path(name) if isinstance(name, str) else [name], value) for name, value in values.items()
    ]
    opened = {path[0] for path, _ in paths if len(path) > 1}
    layers = []
    for (first, *rest), value in paths:
        if first in opened and not rest and isinstance(value, str):
            rest = ["name"]
        for part in reversed(rest):
            value = {part: value}
        layers.append({first: value})
    return merge(*layers)
