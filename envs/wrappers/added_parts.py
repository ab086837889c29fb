"""More parts in observations, of what has happened in the episode so far."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces

from ..actions import action_clipper
from ..vector import Envs, EnvStep
from .wrapper import ObservationWrapper

Parts = dict[str, np.ndarray]


class AddedParts(ObservationWrapper):
    """Adds parts `[B, D]` (float32) to observations, 0 where an episode begins.

    Observations become a Dict: `obs` and the parts; where they are one already, it gets their keys. The true
    successor of a step has what follows from that step.

    Raises:
        ValueError: observations have parts of these names.
    """

    def __init__(self, envs: Envs, option: str, sizes: dict[str, int]):
        space = envs.observation_space
        self.nested = isinstance(space, spaces.Dict)
        parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"obs": space}
        for key, size in sizes.items():
            if key in parts:
                raise ValueError(f"{option}: the observations have a part '{key}' of their own")
            # No bounds: where nothing has been done it need not be an action.
            parts[key] = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        super().__init__(envs, spaces.Dict(parts))
        self.order = tuple(self.observation_space.spaces)  # type: ignore[attr-defined]  # sorted by the space
        self.sizes = sizes
        self.parts: Parts = {}
        # Environments clip actions to their bounds, and may change the array.
        self.clip = action_clipper(envs.action_space, envs.num_envs)

    @abstractmethod
    def parts_after(self, obs: Any, action: Any, reward: np.ndarray, parts: Parts) -> Parts:
        """Make the parts after a step: of the `obs` before it, the clipped action, reward `[B]`, and earlier parts."""

    def _joined(self, obs: Any) -> dict[str, Any]:
        joined = {**(obs if self.nested else {"obs": obs}), **self.parts}
        return {key: joined[key] for key in self.order}

    def begin_all(self, obs: Any) -> dict[str, Any]:
        """Zeros everywhere."""
        self.parts = {key: np.zeros((self.num_envs, size), np.float32) for key, size in self.sizes.items()}
        return self._joined(obs)

    def follow(self, obs: Any, action: Any, step: EnvStep) -> dict[str, Any]:
        """What follows from a step."""
        self.parts = self.parts_after(obs, self.clip(action), step.reward, self.parts)
        return self._joined(step.next_obs)

    def begin(self, first: np.ndarray, step: EnvStep) -> dict[str, Any]:
        """Zeros where an episode begins; new arrays, since the old ones may still be in use."""
        self.parts = {key: np.where(first[:, None], np.float32(0), part) for key, part in self.parts.items()}
        return self._joined(step.obs)

    def own_state(self) -> dict[str, Any]:
        """The parts."""
        return {"parts": {key: part.copy() for key, part in self.parts.items()}}

    def load_own_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Take the parts back."""
        self.parts = {key: np.array(part) for key, part in state["parts"].items()}
        return self._joined(self.envs.obs)
