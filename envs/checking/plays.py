"""Playing an environment with random actions that it allows, so that two copies can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ...networks.tree import copy_in_order

STEPS = 200
SEED = 123


class RandomActions:
    """Draws actions that the observation's mask allows, and keeps them, so that another copy can be given the same.

    From a copy of the space: environments may make a new one in every reset, or share one among them.
    """

    def __init__(self, space: spaces.Space, seed: int = SEED):
        self.space = deepcopy(space)
        self.space.seed(seed)
        self.taken: list[Any] = []

    def __call__(self, obs: Any) -> Any:
        """One action."""
        mask = mask_for(self.space, obs)
        action = self.space.sample() if mask is None else self.space.sample(mask=mask)
        self.taken.append(action)
        # Environments may change what they are given.
        return deepcopy(action)

    def again(self) -> Callable[[Any], Any]:
        """The actions taken so far, once more."""
        remaining = iter(self.taken)
        return lambda obs: deepcopy(next(remaining))


def mask_for(space: spaces.Space, obs: Any) -> Any:
    """The mask that an observation has under `action_mask`, as `sample` takes it; None where there is none to obey."""
    if not isinstance(obs, dict) or "action_mask" not in obs:
        return None
    given = obs["action_mask"]
    parts = given if isinstance(given, tuple) else (given,)
    allowed = np.concatenate([np.asarray(part).reshape(-1) for part in parts]) != 0
    match space:
        case spaces.Discrete() if allowed.size == space.n and allowed.any():
            return allowed.astype(np.int8)
        case spaces.MultiDiscrete() if space.nvec.ndim == 1 and allowed.size == space.nvec.sum():
            columns = np.split(allowed.astype(np.int8), np.cumsum(space.nvec)[:-1])
            return tuple(columns) if all(column.any() for column in columns) else None
    return None


def play(env: gymnasium.Env, act: Callable[[Any], Any], seconds: float) -> Iterator[Any]:
    """Yield everything numeric that an environment returns under one seed, some episodes long.

    Actions end with `StopIteration` where there are no more of them.
    """
    space = env.observation_space
    obs, _ = env.reset(seed=SEED)
    yield copy_in_order(space, obs), 0.0, False, False
    started = time.perf_counter()
    for t in range(STEPS):
        try:
            action = act(obs)
        except StopIteration:
            return
        obs, reward, terminated, truncated, _ = env.step(action)
        yield copy_in_order(space, obs), np.array(reward), terminated, truncated
        if terminated or truncated:
            obs, _ = env.reset(seed=SEED + t)
            yield copy_in_order(space, obs), 0.0, False, False
        if time.perf_counter() - started > seconds:
            return
