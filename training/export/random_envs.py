"""Environments without a task: random observations, rewards and episode ends, to compare policies on."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from ...envs.vector import Envs, EnvStep
from ...networks.pictures import bounded
from ...networks.tree import tree_map, write_rows
from ...networks.vectors import from_leaves, leaf_spaces

# Share of the steps that end an episode.
ENDS = 0.1


class RandomEnvs(Envs):
    """Observations drawn from their space; numbers without bounds are standard normal. With `alike`, equal in all."""

    backend, exact_resume, resets_in_steps, frames_per_second, restarts = "random", False, False, 1, 0

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        num_envs: int,
        seed: int,
        alike: bool = False,
    ):
        self.observation_space, self.action_space = observation_space, action_space
        self.num_envs, self.alike = num_envs, alike
        self.generator = np.random.default_rng(seed)
        self.obs, self.first = self._draw(), np.ones(num_envs, bool)

    def _draw(self) -> Any:
        count = 1 if self.alike else self.num_envs
        leaves = [draw(leaf, count, self.generator) for leaf in leaf_spaces(self.observation_space)]
        return tree_map(
            lambda x: np.repeat(x, self.num_envs // count, 0), from_leaves(self.observation_space, leaves)
        )

    def reset(self) -> Any:
        """Draw anew."""
        self.obs, self.first = self._draw(), np.ones(self.num_envs, bool)
        return self.obs

    def begin_next(self) -> Any:
        """Draw anew."""
        return self.reset()

    def step(self, action: Any) -> EnvStep:
        """Whatever was done, something random follows."""
        self.first = self.generator.random(self.num_envs) < ENDS
        next_obs, self.obs = self._draw(), self._draw()
        write_rows(self.obs, ~self.first, tree_map(lambda x: x[~self.first], next_obs))
        reward = self.generator.standard_normal(self.num_envs)
        ends = self.first.copy()
        return EnvStep(next_obs, reward, ends, np.zeros_like(ends), self.obs, self.first, None, [], {})

    def render(self, index: int = 0) -> np.ndarray:
        """Nothing to see."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to release."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Nothing to take back."""
        return False


def draw(space: spaces.Space, count: int, generator: np.random.Generator) -> np.ndarray:
    """Random values `[count, ...]` of an unnested space."""
    shape = (count, *(space.shape or ()))
    match space:
        case spaces.Box():
            return _draw_box(space, shape, generator)
        case spaces.Discrete():
            return (space.start + generator.integers(space.n, size=shape)).astype(space.dtype)
        case spaces.MultiDiscrete():
            return (space.start + generator.integers(space.nvec, size=shape)).astype(space.dtype)
        case spaces.MultiBinary():
            return generator.integers(2, size=shape).astype(space.dtype)
    raise TypeError(f"no random observations of {space}")


def _draw_box(space: spaces.Box, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    known = bounded(space)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    scale, below = np.where(known, high, 1.0) - np.where(known, low, 0.0), np.where(known, low, 0.0)
    if space.dtype.kind in "iub":
        values = np.floor(below + generator.random(shape) * (scale + 1))
    else:
        values = below + generator.random(shape) * scale
    values = np.where(known, values, generator.standard_normal(shape))
    return np.clip(values, low, high).astype(space.dtype)
