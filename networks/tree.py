"""Observations may nest: a Dict space gives a dict, a Tuple space a tuple, everything else one array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def tree_map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply `function` to every leaf of `tree` (dicts and tuples nest) and the matching leaves of `rest`."""
    if isinstance(tree, dict):
        return {
            key: tree_map(function, value, *(other[key] for other in rest)) for key, value in tree.items()
        }
    if isinstance(tree, tuple):
        return tuple(tree_map(function, *parts) for parts in zip(tree, *rest, strict=True))
    return function(tree, *rest)


def tree_leaves(tree: Any) -> list[Any]:
    """The leaves of `tree`, left to right."""
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in tree_leaves(value)]
    if isinstance(tree, tuple):
        return [leaf for value in tree for leaf in tree_leaves(value)]
    return [tree]


def write_rows(tree: Any, rows: Any, values: Any) -> None:
    """Set `rows` (whatever indexes an array) of every leaf of `tree` to the matching leaf of `values`."""
    if isinstance(tree, dict):
        for key, part in tree.items():
            write_rows(part, rows, values[key])
    elif isinstance(tree, tuple):
        for part, value in zip(tree, values, strict=True):
            write_rows(part, rows, value)
    else:
        tree[rows] = values
