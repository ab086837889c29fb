"""Wrappers of `Envs`: they change observations or rewards where episodes and true successors are known."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.tree import read_row, tree_map, write_rows
from ..vector import Envs, EnvStep


class EnvsWrapper(Envs):
    """Passes everything on unchanged but what a wrapper overrides."""

    def __init__(self, envs: Envs):
        self.envs = envs
        self.backend, self.num_envs = envs.backend, envs.num_envs
        self.observation_space, self.action_space = envs.observation_space, envs.action_space
        self.exact_resume, self.resets_in_steps = envs.exact_resume, envs.resets_in_steps
        self.frames_per_second = envs.frames_per_second

    @property
    def obs(self) -> Any:  # type: ignore[override]
        """What to act on next, `[B, ...]`."""
        return self.envs.obs

    @property
    def first(self) -> np.ndarray:  # type: ignore[override]
        """`[B]` bool: `obs` opens an episode."""
        return self.envs.first

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """How many copies have failed and were made anew."""
        return self.envs.restarts

    def reset(self) -> Any:
        """Begin episode 0 everywhere."""
        return self.envs.reset()

    def begin_next(self) -> Any:
        """Begin the next episode everywhere."""
        return self.envs.begin_next()

    def step(self, action: Any) -> EnvStep:
        """Execute actions `[B, ...]`."""
        return self.envs.step(action)

    def render(self, index: int = 0) -> np.ndarray:
        """Picture of one environment."""
        return self.envs.render(index)

    def close(self) -> None:
        """Release windows, processes and files."""
        self.envs.close()

    def state_dict(self) -> dict[str, Any]:
        """State of the wrapped environments."""
        return self.envs.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Continue from there."""
        return self.envs.load_state_dict(state)


class ObservationWrapper(EnvsWrapper):
    """Makes its observations from those of the wrapped environments and from what came before in each episode."""

    def __init__(self, envs: Envs, observation_space: spaces.Space):
        super().__init__(envs)
        self.observation_space = observation_space
        self._obs: Any = None

    @property
    def obs(self) -> Any:  # type: ignore[override]
        """What to act on next, `[B, ...]`."""
        return self._obs

    @abstractmethod
    def begin_all(self, obs: Any) -> Any:
        """Observations `[B, ...]` where all episodes begin, with those of the wrapped environments."""

    @abstractmethod
    def follow(self, obs: Any, action: Any, step: EnvStep) -> Any:
        """Make `next_obs` after a step, from the wrapped `obs` before it, the action, and the step itself."""

    @abstractmethod
    def begin(self, first: np.ndarray, step: EnvStep) -> Any:
        """Make `obs` after a step that `follow` was called for, where episodes have begun in the rows `first [B]`."""

    @abstractmethod
    def own_state(self) -> dict[str, Any]:
        """What this wrapper keeps of running episodes."""

    @abstractmethod
    def load_own_state(self, state: dict[str, Any]) -> Any:
        """Take it back; returns the observations."""

    def reset(self) -> Any:
        """Begin episode 0 everywhere."""
        self._obs = self.begin_all(self.envs.reset())
        return self._obs

    def begin_next(self) -> Any:
        """Begin the next episode everywhere."""
        self._obs = self.begin_all(self.envs.begin_next())
        return self._obs

    def step(self, action: Any) -> EnvStep:
        """Execute actions `[B, ...]`."""
        before, inner = self._obs, self.envs.obs
        step = self.envs.step(action)
        next_obs = obs = self.follow(inner, action, step)
        if np.count_nonzero(step.first):
            obs = self.begin(step.first, step)
        if step.failed:
            next_obs = tree_map(np.array, next_obs)
            for i in step.failed:
                write_rows(next_obs, i, read_row(before, i))
        elif step.next_obs is step.obs:
            next_obs = obs
        self._obs = obs
        return step._replace(next_obs=next_obs, obs=obs)

    def state_dict(self) -> dict[str, Any]:
        """State of the wrapped environments and of this wrapper."""
        return {"envs": self.envs.state_dict(), **self.own_state()}

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Continue from there, exactly or with new episodes everywhere; returns which."""
        if "envs" not in state:
            state = from_0_1(state)
        exact = self.envs.load_state_dict(state["envs"])
        self._obs = self.load_own_state(state) if exact else self.begin_all(self.envs.obs)
        return exact


def from_0_1(state: dict[str, Any]) -> dict[str, Any]:
    """State of a wrapper as version 0.1.0 saved it: between that of `Envs` and that of the backend."""
    own = state["backend"]
    return {**own, "envs": {**state, "backend": own["backend"]}}
