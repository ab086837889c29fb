"""Something of the past beside what an environment shows: made here from step to step, gone between episodes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.tree import tree_map
from ..vector import DISABLED, NEXT_STEP, SAME_STEP, Backend, with_final_obs
from .around import Around

Parts = dict[str, np.ndarray]


class Beside(Around):
    """Any backend, with more parts `[B, D]` (float32) in its observations; all of them are 0 in a first step.

    Observations become a Dict: `obs` and the parts; where they are one already, it gets their keys. The true
    successor of a step shows what follows from that step.

    Raises:
        ValueError: observations have parts of these names.
    """

    def __init__(self, backend: Backend, option: str, sizes: dict[str, int]):
        super().__init__(backend)
        space = backend.observation_space
        self.nested = isinstance(space, spaces.Dict)
        shown = dict(space.spaces) if isinstance(space, spaces.Dict) else {"obs": space}
        for key, size in sizes.items():
            if key in shown:
                raise ValueError(f"{option}: the observations have a part '{key}' of their own")
            # No bounds: what is shown while nothing was done need not be an action.
            shown[key] = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.observation_space = spaces.Dict(shown)
        self.order = tuple(self.observation_space.spaces)  # a space of a dictionary sorts its keys
        self.sizes = sizes
        self._forget()

    @abstractmethod
    def follow(self, obs: Any, action: np.ndarray, reward: np.ndarray, parts: Parts) -> Parts:
        """What is shown after a step: from the `obs` before it, action, reward `[B]`, and what was shown before."""

    def _forget(self) -> None:
        self.parts = {key: np.zeros((self.num_envs, size), np.float32) for key, size in self.sizes.items()}
        self.resetting = np.zeros(self.num_envs, bool)

    @property
    def obs(self) -> Any:  # type: ignore[override]
        """What is shown."""
        return self._beside(self.backend.obs)

    def _beside(self, obs: Any) -> dict[str, Any]:
        shown = {**(obs if self.nested else {"obs": obs}), **self.parts}
        return {key: shown[key] for key in self.order}

    def start(self) -> Any:
        """Begin the first episodes."""
        self.backend.start()
        self._forget()
        return self.obs

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step, and show what follows from it."""
        before = self.backend.obs
        obs, reward, terminated, truncated, info = self.backend.step(action)
        # A reward that is not finite is reported as such, not as what is shown.
        finite = np.where(np.isfinite(reward), reward, 0.0)
        self.parts = self.follow(before, np.asarray(action), finite, self.parts)
        done = terminated | truncated
        if self.autoreset_mode is SAME_STEP and done.any():
            successor = with_final_obs(obs, done, info["final_obs"])
            info = {**info, "final_obs": self._beside(successor)}
            self._begin(done)
        if self.autoreset_mode is NEXT_STEP:
            if self.resetting.any():
                self._begin(self.resetting)
            self.resetting = done & ~self.resetting
        return self._beside(obs), reward, terminated, truncated, info

    def _begin(self, mask: np.ndarray) -> None:
        """Show nothing where an episode begins; new arrays, since the old ones may still be in use."""
        self.parts = {key: np.where(mask[:, None], np.float32(0), part) for key, part in self.parts.items()}

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`."""
        assert self.autoreset_mode is DISABLED
        self.backend.restart(mask)
        self._begin(mask)
        return self.obs

    def undo(self, obs: Any) -> bool:
        """Show what was shown before the last step."""
        self.parts = {key: obs[key] for key in self.sizes}
        rest = {key: part for key, part in obs.items() if key not in self.sizes}
        return self.backend.undo(rest if self.nested else rest["obs"])

    def state_dict(self) -> dict[str, Any]:
        """Where the environments are, and what is shown beside them."""
        own = {"parts": self.parts, "resetting": self.resetting}
        return {"backend": self.backend.state_dict(), **tree_map(np.array, own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring them back there; without `exact_resume` new episodes have begun."""
        super().load_state_dict(state)
        self._forget()
        if self.exact_resume:
            self.parts = {key: np.array(part) for key, part in state["parts"].items()}
            self.resetting = np.array(state["resetting"])
