"""What happens when an environment raises, hangs, dies or returns what no agent can learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...networks.tree import tree_leaves, tree_map


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


def failed(error: BaseException) -> str:
    """An exception as the end of the sentence `environment 3 ...`, in one line."""
    first_line = str(error).strip().partition("\n")[0]
    return f"failed: {type(error).__name__}" + (f": {first_line}" if first_line else "")


def finite_checker(obs: Any) -> Callable[[Any, np.ndarray], bool]:
    """Return a function that tells whether `obs`, of the shapes given, and `reward [B]` hold only finite numbers.

    A product with zeros is NaN as soon as one factor is not finite; this takes 0.5 us where `np.isfinite(x).all()`
    takes 1.5. (Of observations the method `dot` would warn of infinity; squares of rewards are safe.)
    """
    zeros = [np.zeros_like(leaf) if leaf.dtype.kind == "f" else None for leaf in tree_leaves(obs)]
    vdot, infinity = np.vdot, np.inf
    if isinstance(obs, np.ndarray) and zeros[0] is not None:
        (only,) = zeros
        return lambda obs, reward: bool(vdot(only, obs) == 0 and reward.dot(reward) < infinity)  # type: ignore[arg-type]
    floats = [i for i, zero in enumerate(zeros) if zero is not None]

    def check(obs: Any, reward: np.ndarray) -> bool:
        leaves = tree_leaves(obs) if floats else []
        nested = all(vdot(zeros[i], leaves[i]) == 0 for i in floats)  # type: ignore[arg-type]
        return bool(nested and reward.dot(reward) < infinity)

    return check


def not_finite(obs: Any, reward: np.ndarray) -> list[Failure]:
    """Which rows hold NaN or infinity, and where."""

    def bad(leaf: np.ndarray) -> np.ndarray:
        if leaf.dtype.kind != "f":
            return np.zeros(len(leaf), bool)
        return ~np.isfinite(leaf).reshape(len(leaf), -1).all(1)

    rows = np.logical_or.reduce(tree_leaves(tree_map(bad, obs)))
    failures = [
        Failure(i, "returned an observation with NaN or infinity") for i in np.flatnonzero(rows).tolist()
    ]
    rewards = np.flatnonzero(~np.isfinite(reward) & ~rows).tolist()
    return failures + [Failure(i, f"returned the reward {reward[i]}") for i in rewards]
