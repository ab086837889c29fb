"""Observations and actions may nest: Dict spaces give dicts, Tuple spaces tuples, everything else one array.

A leaf of the house that every folder imports; worker processes too, so it imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

# Kinds of NumPy types that are numbers.
NUMERIC = "biufc"


class UnfitValueError(ValueError):
    """An environment returned what does not fit; the message ends the sentence `environment 0 returned ...`."""


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
    """Set `rows` (whatever indexes an array) of every leaf of `tree` to that of `values`, cast to the leaf's type."""
    if isinstance(tree, dict):
        for key, part in tree.items():
            write_rows(part, rows, values[key])
    elif isinstance(tree, tuple):
        for part, value in zip(tree, values, strict=True):
            write_rows(part, rows, value)
    else:
        tree[rows] = values


def tree_like(tree: Any, leaves: Iterable[Any]) -> Any:
    """A tree of the shape of `tree` with other leaves, as `tree_leaves` orders them."""
    remaining = iter(leaves)
    return tree_map(lambda _: next(remaining), tree)


def concatenated(trees: Sequence[Any], axis: int = 0) -> Any:
    """One tree of several of its shape: their leaves `[N, ...]` one after another."""
    return tree_map(lambda *leaves: np.concatenate(leaves, axis), *trees)


def read_row(batch: Any, index: int) -> Any:
    """Row `index` of every leaf `[N, ...]` of `batch`."""
    return tree_map(lambda leaf: leaf[index], batch)


def same_leaves(one: Any, other: Any) -> bool:
    """Whether all leaves are equal, bit for bit as far as values go (NaN equals NaN)."""
    pairs = zip(tree_leaves(one), tree_leaves(other), strict=True)
    return all(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f") for a, b in pairs)


def fingerprint(tree: Any) -> str:
    """What the arrays of a tree are known by: the SHA-256 of all their bytes, left to right."""
    digest = hashlib.sha256()
    for leaf in tree_leaves(tree):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def copy_in_order(space: spaces.Space, value: Any) -> Any:
    """Copy an observation or a batch of them, dicts with the keys of their space in its order."""
    match space:
        case spaces.Dict():
            return {key: copy_in_order(part, value[key]) for key, part in space.items()}
        case spaces.Tuple():
            return tuple(copy_in_order(part, value[i]) for i, part in enumerate(space))
    return np.array(np.asarray(value))  # asarray first: tensors (torch 2.13) cannot be asked for a copy


def row_writer(space: spaces.Space, key: str = "") -> Callable[[Any, int, Any], None]:
    """Return `write_rows` for one space, faster; `key` says in errors which part of an observation it is.

    What NumPy might change without a word is an error of the writer (`ValueError`): a row of another shape, which would
    be stretched, and a value that the space's type cannot hold (see `cast`).
    """
    match space:
        case spaces.Dict():
            writers = [(name, row_writer(part, f"{key}[{name!r}]")) for name, part in space.items()]

            def write_dict(batch: Any, index: int, row: Any) -> None:
                for name, write in writers:
                    try:
                        value = row[name]
                    except (TypeError, LookupError):
                        found = sorted(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
                        raise UnfitValueError(
                            f"an observation{key} with {found}; its space has the keys {sorted(map(str, space))}"
                        ) from None
                    write(batch[name], index, value)

            return write_dict
        case spaces.Tuple():
            parts = [row_writer(part, f"{key}[{number}]") for number, part in enumerate(space)]

            def write_tuple(batch: Any, index: int, row: Any) -> None:
                if not isinstance(row, (tuple, list)) or len(row) != len(parts):
                    raise UnfitValueError(
                        f"an observation{key} as {type(row).__name__}; its space is a tuple of {len(parts)}"
                    )
                for write, part, value in zip(parts, batch, row, strict=True):
                    write(part, index, value)

            return write_tuple
    shape, dtype = space.shape or (), np.dtype(space.dtype)

    def write_leaf(batch: Any, index: int, row: Any) -> None:
        if type(row) is not np.ndarray:
            try:
                row = np.asarray(row)
            except Exception:
                what = f"an observation{key} of type {type(row).__name__}"
                raise UnfitValueError(f"{what}; no {dtype} can be made of it") from None
        if row.shape != shape:
            raise UnfitValueError(f"an observation{key} of shape {row.shape}; its space says {shape}")
        batch[index] = row if row.dtype == dtype else cast(row, dtype, key)

    return write_leaf


def typed_as(space: spaces.Space, values: np.ndarray) -> np.ndarray:
    """Values of a space in its type; raises `UnfitValueError` where they would be others."""
    dtype = values.dtype if space.dtype is None else np.dtype(space.dtype)
    return values if values.dtype == dtype else cast(values, dtype)


def cast(values: np.ndarray, dtype: np.dtype, key: str = "") -> np.ndarray:
    """An observation's `values` in another type. Floats may be rounded; whole numbers and booleans are the same after.

    Raises:
        UnfitValueError: 256 as a byte would be 0, 0.9 as a whole number 0, -1 without a sign 255.
    """
    if values.dtype.kind not in NUMERIC:
        raise UnfitValueError(f"an observation{key} of type {values.dtype}; its space says {dtype}")
    with np.errstate(invalid="ignore", over="ignore"):  # infinity is looked for afterwards
        if dtype.kind == "f" and np.can_cast(values.dtype, dtype, "same_kind"):
            return values.astype(dtype)
        cast_values = values.real.astype(dtype)
    lost = np.argwhere(cast_values != values)
    if len(lost):
        where = tuple(lost[0].tolist())
        at = f" at {list(where)}" if where else ""
        raise UnfitValueError(
            f"an observation{key} with {values[where]!s}{at}, which its space's type, {dtype}, makes "
            f"{cast_values[where]!s}"
        )
    return cast_values
