"""What an environment may return from reset and step; what no agent can take is said in one line.

Whatever ends with the number, the flag or the mapping that it must be is taken, however it is written. Nothing is
guessed: "False" and NaN are true to Python, and a date is a number to NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...networks.tree import UnfitValueError

ONE_NUMBER = (
    "it must be one number: weigh several objectives with the wrapper mo_gymnasium.wrappers:LinearReward"
)
NUMBERS = (int, float, np.integer, np.floating, np.bool_)


def first_of_two(result: Any) -> Any:
    """The observation of what `reset` returned.

    Raises:
        UnfitValueError: it is not `(obs, info)`.
    """
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise UnfitValueError(f"{described(result)} instead of (obs, info)")
    return result[0]


def five(result: Any) -> Any:
    """What `step` returned.

    Raises:
        UnfitValueError: it is not `(obs, reward, terminated, truncated, info)`.
    """
    if not isinstance(result, (tuple, list)) or len(result) != 5:
        raise UnfitValueError(f"{described(result)} instead of (obs, reward, terminated, truncated, info)")
    return result


def described(result: Any) -> str:
    """`4 values`, or the type of what is no sequence."""
    return f"{len(result)} values" if isinstance(result, (tuple, list)) else type(result).__name__


def scalar_reward(reward: Any) -> float:
    """The one number that a reward is; arrays of one element are taken. Beyond a float it is infinite.

    Raises:
        UnfitValueError: it is a vector, or no number.
    """
    given = reward
    if not isinstance(reward, NUMBERS):
        if math.prod(shape := np.shape(reward)) != 1:
            raise UnfitValueError(f"a reward of shape {shape}; {ONE_NUMBER}")
        if isinstance(reward, (np.ndarray, np.generic, list, tuple)):
            reward = np.asarray(reward).item()
    try:
        if isinstance(given, (str, bytes)) or np.ma.is_masked(given):
            raise TypeError
        return float(reward)
    except OverflowError:
        return math.inf if reward > 0 else -math.inf
    except (TypeError, ValueError):
        raise UnfitValueError(f"a reward of type {type(given).__name__}; it must be a number") from None


def flag(value: Any, name: str) -> bool:
    """Whether an episode is `name`: a bool, a number that is 0 or 1, or an array of one of them.

    Raises:
        UnfitValueError: it is something else.
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    # Of other arrays, torch's for instance, this asks them; nothing but a number is equal to one.
    try:
        if value == 0 or value == 1:
            return bool(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise UnfitValueError(f"{name} of type {type(value).__name__}, {str(value)[:40]!r}; it must be a bool")


def as_info(info: Any) -> dict[str, Any]:
    """What `step` returned as its info: a dict, whatever mapping it is; nothing depends on what is none."""
    return dict(info) if isinstance(info, Mapping) else {}


def drawn_as(frame: Any) -> str:
    """`float64 of shape (4, 4)`, or the type of what is no array."""
    values = np.asarray(frame)
    return f"{values.dtype} of shape {values.shape}" if values.ndim else type(frame).__name__


def as_picture(frame: Any) -> np.ndarray:
    """What `render` returned as uint8 `[height, width, 3]`: grey ones, transparent ones and floats up to 1 are taken.

    Raises:
        UnfitValueError: it is no picture.
    """
    if type(frame) is np.ndarray and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3:
        values = frame
    else:
        values = np.asarray(frame)
        grey = values.ndim == 2
        if values.dtype.kind not in "biuf" or not (
            grey or (values.ndim == 3 and values.shape[2] in (1, 3, 4))
        ):
            raise UnfitValueError(
                f"{drawn_as(frame)} from render; pictures are uint8 of shape (height, width, 3)"
            )
        if values.dtype.kind == "f":
            if not np.isfinite(values).all():
                raise UnfitValueError("a picture with NaN or infinity from render")
            values = values * 255 if values.max(initial=0) <= 1 else values
        values = np.clip(values[..., None] if grey else values[..., :3], 0, 255).astype(np.uint8)
        values = np.broadcast_to(values, (*values.shape[:2], 3))
    if min(values.shape[:2]) < 2:
        raise UnfitValueError(
            f"a picture of {values.shape[0]} by {values.shape[1]} from render; that is too small"
        )
    return values
