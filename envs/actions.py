"""Actions as environments take them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from .backends.returned import described


class ActionError(ValueError):
    """An agent chose what is no action; the message ends the sentence `the agent chose ...`."""


class ActionFormError(ActionError):
    """It has another form than actions have: the code of the agent is at fault, not what it has learned."""


def action_clipper(space: spaces.Space, num_envs: int, key: str = "") -> Callable[[Any], Any]:
    """Return a function that clips actions `[B, ...]` to the bounds of `space` and gives them its dtype.

    It raises `ActionError` where they are not one for each copy, and with the copy where one is not finite, or is no
    action of a discrete space; `key` says which part of an action it is.
    """
    dtype = space.dtype
    match space:
        case spaces.Dict():
            parts = {name: action_clipper(part, num_envs, f"{key}[{name!r}]") for name, part in space.items()}
            return dict_clipper(parts, key)
        case spaces.Tuple():
            clips = [action_clipper(part, num_envs, f"{key}[{n}]") for n, part in enumerate(space)]
            return tuple_clipper(clips, key)
        case spaces.Box():
            return box_clipper(space, num_envs, key)
        case spaces.Discrete():
            return choice_checker(
                np.asarray(space.start), np.asarray(space.n), num_envs, np.dtype(dtype), key
            )
        case spaces.MultiDiscrete():
            return choice_checker(
                np.asarray(space.start), np.asarray(space.nvec), num_envs, np.dtype(dtype), key
            )
        case spaces.MultiBinary():
            bits = np.full(space.shape, 2)
            return choice_checker(np.zeros_like(bits), bits, num_envs, np.dtype(dtype), key)
    # A copy: environments may keep what they are given, or change it.
    return lambda action: np.array(action, dtype)


def dict_clipper(parts: dict[str, Callable[[Any], Any]], key: str) -> Callable[[Any], dict[str, Any]]:
    """Return what clips the parts of an action by their names."""
    named = ", ".join(map(repr, parts))

    def clip(action: Any) -> dict[str, Any]:
        if not isinstance(action, Mapping):
            raise ActionFormError(
                f"actions{key} as {type(action).__name__}, where copies take a dict of {named}"
            )
        for name in parts:
            if name not in action:
                raise ActionFormError(f"actions{key} without {name!r}, where copies take a dict of {named}")
        return {name: clip(action[name]) for name, clip in parts.items()}

    return clip


def tuple_clipper(clips: list[Callable[[Any], Any]], key: str) -> Callable[[Any], tuple[Any, ...]]:
    """Return what clips the parts of an action by their places."""

    def clip(action: Any) -> tuple[Any, ...]:
        if not isinstance(action, (tuple, list)) or len(action) != len(clips):
            raise ActionFormError(
                f"actions{key} as {described(action)}, where copies take a tuple of {len(clips)}"
            )
        return tuple(clip(part) for clip, part in zip(clips, action, strict=True))

    return clip


def box_clipper(space: spaces.Box, num_envs: int, key: str) -> Callable[[Any], np.ndarray]:
    """Return what clips actions that are all finite."""
    dtype = space.dtype
    # Full batches and plain ufuncs: broadcasting and np.clip would take three times as long.
    low, high = (np.repeat(bound[None], num_envs, axis=0) for bound in (space.low, space.high))
    bounded = bool(np.isfinite(low).any() or np.isfinite(high).any())
    # As in `failure.finite_checker`.
    zeros, vdot = np.zeros_like(low), np.vdot

    def clip(action: Any) -> np.ndarray:
        if np.shape(action) != low.shape:
            raise misshapen(np.asarray(action), low.shape, key)
        if vdot(zeros, action) != 0:  # NaN is not 0 either
            odd = ~np.isfinite(np.asarray(action, np.float64))
            raise wrong(np.asarray(action), odd, key)
        if not bounded:
            return np.array(action, dtype)
        return np.asarray(np.minimum(np.maximum(action, low), high), dtype)

    return clip


def choice_checker(
    start: np.ndarray, count: np.ndarray, num_envs: int, dtype: np.dtype, key: str
) -> Callable[[Any], np.ndarray]:
    """Return what copies whole numbers from `start` on, `count` many."""
    last = start + count - 1
    # Without a sign, negative numbers are large, so that one comparison does; with a full batch, since broadcasting
    # takes three times as long.
    whole = np.dtype(np.int64)
    plain = dtype == whole and not start.any()
    limit = np.repeat(count[None].astype(np.uint64), num_envs, axis=0)
    counted, unsigned = np.count_nonzero, np.uint64

    def check(action: Any) -> np.ndarray:
        given = np.asarray(action)
        if given.shape != limit.shape or given.dtype.kind not in "iubf":
            raise misshapen(given, limit.shape, key)
        if plain and given.dtype == whole and not counted(given.view(unsigned) >= limit):
            return given.copy()
        if np.count_nonzero((given < start) | (given > last)) or given.dtype.kind not in "iub":
            odd = ~((given >= start) & (given <= last) & (given == np.floor(given)))
            if odd.any():
                raise wrong(given, odd, key)
        return np.array(given, dtype)

    return check


def misshapen(action: np.ndarray, expected: tuple[int, ...], key: str) -> ActionFormError:
    """The error for a batch of actions that has another shape than the copies take, or no numbers."""
    return ActionFormError(
        f"actions{key} {action.shape} of {action.dtype}, where {expected[0]} copies take numbers {expected}"
    )


def wrong(action: np.ndarray, odd: np.ndarray, key: str) -> ActionError:
    """The error for the first of some odd numbers in a batch of actions."""
    index = int(np.argwhere(odd)[0][0])
    value = reprlib.repr(action[index].tolist())
    return ActionError(
        f"{value}{key and f' as action{key}'} in copy {index}, which is no action of its space"
    )
