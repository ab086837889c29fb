"""Which actions there are heads for; an agent says by one of these what it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeGuard

import numpy as np
from gymnasium import spaces

from .pictures import is_bounded


class ActionSpaces(NamedTuple):
    """Some action spaces."""

    name: str
    include: Callable[[spaces.Space], bool]
    """Whether a space is one of them."""


def _is_row(space: spaces.Space, kind: type[spaces.Space]) -> bool:
    return isinstance(space, kind) and len(space.shape or ()) == 1


def _is_valued(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Discrete) or _is_row(space, spaces.MultiDiscrete)


def _is_float_box(space: spaces.Space) -> TypeGuard[spaces.Box]:
    return isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)


def _is_bounded(space: spaces.Space) -> bool:
    return _is_float_box(space) and is_bounded(space)


def _is_sampled(space: spaces.Space) -> bool:
    return _is_valued(space) or _is_row(space, spaces.MultiBinary) or _is_float_box(space)


ANY = ActionSpaces("any actions", lambda space: True)
SAMPLED = ActionSpaces(
    "Discrete, MultiDiscrete and MultiBinary (one-dimensional) and float Box actions", _is_sampled
)
VALUED = ActionSpaces("Discrete and MultiDiscrete (one-dimensional) actions", _is_valued)
BOUNDED = ActionSpaces("float Box actions with finite bounds", _is_bounded)
