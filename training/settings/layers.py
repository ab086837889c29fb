"""Layers of options (a preset, a file, the command line), of which later ones win."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .config import BLOCKS, names_of

# Blocks of options that are called otherwise on the command line: --env is the environment, --env.timeout an option.
AS_TYPED = {"env": "env_options"}


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
    layers: list[dict[str, Any]] = []
    opened: set[str] = set()
    for name, value in values.items():
        first, *parts = name.replace("-", "_").split(".") if isinstance(name, str) else [name]
        if parts:
            first = AS_TYPED.get(first, first)
            opened.add(first)
        for part in reversed(parts):
            value = {part: value}
        layers.append({first: value})
    named = [
        {key: {"name": value} if key in opened and isinstance(value, str) else value}
        for layer in layers
        for key, value in layer.items()
    ]
    return merge(*named)
