"""What happens when an environment raises, hangs, dies or returns what no agent can learn from."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from ...networks.tree import UnfitValueError, tree_leaves

# Networks, replay and rollouts hold float32: what is beyond it is infinite to them.
LARGEST = float(np.finfo(np.float32).max)


class Failure(NamedTuple):
    """One copy of an environment could not be stepped or reset."""

    env_index: int
    what: str
    """What went wrong, as the end of the sentence `environment 3 ...`."""
    cause: BaseException | None = None
    in_reset: bool = False
    seed: int | None = None
    """What the episode was reset with, where it is not the one that runs."""


class EnvironmentFailedError(RuntimeError):
    """An environment has failed; the message is one line with its index, the episode's seed, and the action."""


class RemoteError(Exception):
    """The traceback of an exception in a worker process, as text."""


def where(failure: EnvironmentFailedError) -> str:
    """The line of code that has failed, as `, in sensors.py:51`; empty where nothing was raised."""
    cause = failure.__cause__
    if isinstance(cause, RemoteError):
        lines = re.findall(r'File "(.*)", line (\d+)', str(cause))
        return f", in {Path(lines[-1][0]).name}:{lines[-1][1]}" if lines else ""
    return "" if cause is None else innermost(traceback.extract_tb(cause.__traceback__))


def innermost(frames: traceback.StackSummary) -> str:
    """The last line of a traceback, as `, in sensors.py:51`."""
    return f", in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def failed(error: BaseException) -> str:
    """An exception as the end of the sentence `environment 3 ...`, in one line."""
    try:
        said = "".join(letter for letter in str(error).strip().partition("\n")[0] if letter.isprintable())
    except Exception:  # an exception of the environment's own, which cannot be said
        said = ""
    return f"failed: {type(error).__name__}" + (f": {said}" if said else "")


def failure_of(
    env_index: int, error: BaseException, in_reset: bool = False, seed: int | None = None
) -> Failure:
    """What an exception of a copy is; where it returned what does not fit, there is no traceback to show."""
    if isinstance(error, UnfitValueError):
        return Failure(env_index, f"returned {error}", None, in_reset, seed)
    return Failure(env_index, failed(error), error, in_reset, seed)


def finite_checker(obs: Any) -> Callable[[Any, np.ndarray], bool]:
    """Return a function that tells whether `obs`, of the shapes given, and `reward [B]` are finite as float32.

    A product with zeros is NaN as soon as one factor is not finite; this takes 0.5 us where `np.isfinite(x).all()`
    takes 1.5. Of float64 it is the sum of squares that is small enough. It may say no of numbers close to the largest
    float32: `not_sound` looks closely. (The method `dot` would warn of infinity.)
    """
    vdot, limit = np.vdot, LARGEST**2
    # Place of each float leaf, what to multiply it by (None: itself), and what the product may be.
    plan: list[tuple[int, np.ndarray | None, float]] = []
    for place, leaf in enumerate(tree_leaves(obs)):
        if leaf.dtype.kind == "f":
            small = leaf.dtype.itemsize <= 4
            plan.append((place, np.zeros_like(leaf) if small else None, 0.0 if small else limit))
    if isinstance(obs, np.ndarray) and plan and plan[0][1] is not None:
        zeros = plan[0][1]
        return lambda obs, reward: bool(vdot(zeros, obs) == 0 and vdot(reward, reward) <= limit)

    def check(obs: Any, reward: np.ndarray) -> bool:
        leaves = tree_leaves(obs) if plan else []
        for place, factor, most in plan:
            leaf = leaves[place]
            if not vdot(leaf if factor is None else factor, leaf) <= most:
                return False
        return bool(vdot(reward, reward) <= limit)

    return check


class Range(NamedTuple):
    """The whole numbers that one part of an observation may be."""

    leaf: int
    """Which part: its place among the leaves."""
    key: str
    low: np.ndarray
    high: np.ndarray


def ranges_of(space: spaces.Space) -> list[Range]:
    """Ranges of the Discrete and MultiDiscrete parts of observations, which index embeddings and one-hot vectors."""
    found: list[Range] = []

    def visit(part: spaces.Space, key: str, leaf: int) -> int:
        match part:
            case spaces.Dict() | spaces.Tuple():
                inner = part.items() if isinstance(part, spaces.Dict) else enumerate(part)
                for name, each in inner:
                    leaf = visit(each, f"{key}[{name!r}]", leaf)
                return leaf
            case spaces.Discrete():
                found.append(Range(leaf, key, np.asarray(part.start), np.asarray(part.start + part.n - 1)))
            case spaces.MultiDiscrete():
                found.append(Range(leaf, key, np.asarray(part.start), part.start + part.nvec - 1))
        return leaf + 1

    visit(space, "", 0)
    return found


def in_range(obs: Any, ranges: list[Range]) -> bool:
    """Whether observations `[B, ...]` keep to their ranges."""
    leaves = tree_leaves(obs)
    return not any(
        np.count_nonzero((leaves[each.leaf] < each.low) | (leaves[each.leaf] > each.high)) for each in ranges
    )


def not_sound(obs: Any, reward: np.ndarray, ranges: list[Range]) -> list[Failure]:
    """Which rows hold NaN, infinity or whole numbers out of range, and where; each row once."""

    def finite(values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.isfinite(values.astype(np.float32))

    found: dict[int, str] = {}
    for leaf in tree_leaves(obs):
        if leaf.dtype.kind == "f":
            for i, row in enumerate(leaf):
                odd = row[~finite(row)]
                if odd.size:
                    # Beyond float32 is a case of its own: who reads of infinity would look for it in vain.
                    beyond = odd[np.isfinite(odd)]
                    what = (
                        f"{beyond[0]:g}, which is infinite as float32" if beyond.size else "NaN or infinity"
                    )
                    found.setdefault(i, f"returned an observation with {what}")
    for each in ranges:
        leaf = tree_leaves(obs)[each.leaf]
        for i, row in enumerate(leaf):
            odd = (row < each.low) | (row > each.high)
            if odd.any():
                low, high = (np.broadcast_to(bound, odd.shape)[odd][0] for bound in (each.low, each.high))
                value = np.asarray(row)[odd].flat[0]
                found.setdefault(
                    i, f"returned an observation{each.key} of {value}; its space goes from {low} to {high}"
                )
    for i in np.flatnonzero(~finite(reward)).tolist():
        beyond = ", which is infinite as float32" if np.isfinite(reward[i]) else ""
        found.setdefault(i, f"returned the reward {reward[i]}{beyond}")
    return [Failure(i, what) for i, what in sorted(found.items())]
