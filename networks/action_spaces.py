"""Which actions there are heads for; an agent says by one of these what it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from gymnasium import spaces

from .pictures import is_bounded
from .vectors import LARGEST_ONE_HOT, leaf_spaces


class ActionSpaces(NamedTuple):
    """Some action spaces."""

    name: str
    include: Callable[[spaces.Space], bool]
    """Whether a space is one of them."""


def simplified(space: spaces.Space) -> spaces.Space:
    """An action space as heads see it: integer Boxes with few choices as MultiDiscrete, keys of Dicts in order.

    Equal Dict spaces may list their keys in other orders; what is learned must not depend on that.
    """
    match space:
        case spaces.Dict():
            return spaces.Dict({key: simplified(part) for key, part in sorted_items(space)})
        case spaces.Tuple():
            return spaces.Tuple([simplified(part) for part in space])
        case spaces.Box() if _has_few_choices(space):
            low, high = space.low.astype(np.int64), space.high.astype(np.int64)
            return spaces.MultiDiscrete(high - low + 1, start=low)
    return space


def sorted_items(space: spaces.Dict) -> list[tuple[Any, spaces.Space]]:
    """Keys and parts, in an order that depends on the keys alone."""
    return sorted(space.items(), key=lambda item: (type(item[0]).__name__, str(item[0])))


def is_nested(space: spaces.Space) -> TypeGuard[spaces.Dict | spaces.Tuple]:
    """Whether actions of a space are dicts or tuples."""
    return isinstance(space, spaces.Dict | spaces.Tuple)


def _has_few_choices(space: spaces.Box) -> bool:
    """Whether a Box holds whole numbers (or booleans), few enough for an output each."""
    if space.dtype.kind not in "iub":
        return False
    # In float64: the range of 64-bit integers does not fit into one.
    choices = space.high.astype(np.float64) - space.low.astype(np.float64) + 1
    return bool(choices.sum() <= LARGEST_ONE_HOT)


def _is_float_box(space: spaces.Space) -> TypeGuard[spaces.Box]:
    return isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)


def _is_bounded(space: spaces.Space) -> bool:
    return _is_float_box(space) and is_bounded(space)


def _is_valued_leaf(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Discrete | spaces.MultiDiscrete)


def _is_sampled_leaf(space: spaces.Space) -> bool:
    return _is_valued_leaf(space) or isinstance(space, spaces.MultiBinary) or _is_float_box(space)


def _made_of(is_leaf: Callable[[spaces.Space], bool]) -> Callable[[spaces.Space], bool]:
    """Return whether all leaves of a space are such, and there is one."""

    def include(space: spaces.Space) -> bool:
        leaves = leaf_spaces(simplified(space))
        return bool(leaves) and all(map(is_leaf, leaves))

    return include


ANY = ActionSpaces("any actions", lambda space: True)
SAMPLED = ActionSpaces(
    "Discrete, MultiDiscrete, MultiBinary, float Box and small integer Box actions, and Tuples and Dicts of them",
    _made_of(_is_sampled_leaf),
)
VALUED = ActionSpaces(
    "Discrete, MultiDiscrete and small integer Box actions, and Tuples and Dicts of them",
    _made_of(_is_valued_leaf),
)
BOUNDED = ActionSpaces("float Box actions with finite bounds", _is_bounded)
