"""The last action and the last reward beside what an environment shows: what an agent with a memory can learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from .around import Around
from .tree import tree_map
from .vector import DISABLED, NEXT_STEP, SAME_STEP, Backend, with_final_obs

ACTION, REWARD = "previous_action", "previous_reward"


class ShowPrevious(Around):
    """Any backend, with the last action `[B, D]` and reward `[B, 1]` in its observations; both are 0 in a first step.

    Observations become a Dict: `obs`, `previous_action` and `previous_reward`; where they are one already, it gets
    the last two keys. Discrete actions are one-hot. The true successor of a step shows that step's action and reward.
    """

    def __init__(self, backend: Backend):
        super().__init__(backend)
        space = with_previous(backend.observation_space, backend.action_space)
        self.observation_space = space
        self.order = tuple(space.spaces)  # a space of a dictionary sorts its keys
        self.action_shape = space[ACTION].shape or ()
        self.nested = isinstance(backend.observation_space, spaces.Dict)
        self.encode = action_encoder(backend.action_space)
        self._forget()

    def _forget(self) -> None:
        self.action = np.zeros((self.num_envs, *self.action_shape), np.float32)
        self.reward = np.zeros((self.num_envs, 1), np.float32)
        self.resetting = np.zeros(self.num_envs, bool)

    @property
    def obs(self) -> Any:  # type: ignore[override]
        """What is shown."""
        return self._beside(self.backend.obs)

    def _beside(self, obs: Any) -> dict[str, Any]:
        parts = obs if self.nested else {"obs": obs}
        shown = {**parts, ACTION: self.action, REWARD: self.reward}
        return {key: shown[key] for key in self.order}

    def start(self) -> Any:
        """Begin the first episodes."""
        self.backend.start()
        self._forget()
        return self.obs

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step, and show what was done and what it brought."""
        obs, reward, terminated, truncated, info = self.backend.step(action)
        self.action = self.encode(np.asarray(action))
        # A reward that is not finite is reported as such, not as what is shown.
        self.reward = np.where(np.isfinite(reward), reward, 0.0).astype(np.float32)[:, None]
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
        self.action = np.where(mask[:, None], np.float32(0), self.action)
        self.reward = np.where(mask[:, None], np.float32(0), self.reward)

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`."""
        assert self.autoreset_mode is DISABLED
        self.backend.restart(mask)
        self._begin(mask)
        return self.obs

    def undo(self, obs: Any) -> bool:
        """Show what was shown before the last step."""
        self.action, self.reward = obs[ACTION], obs[REWARD]
        rest = {key: part for key, part in obs.items() if key not in (ACTION, REWARD)}
        return self.backend.undo(rest if self.nested else rest["obs"])

    def state_dict(self) -> dict[str, Any]:
        """Where the environments are, and what is shown beside them."""
        own = {"action": self.action, "reward": self.reward, "resetting": self.resetting}
        return {"backend": self.backend.state_dict(), **tree_map(np.array, own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring them back there; without `exact_resume` new episodes have begun."""
        super().load_state_dict(state)
        self._forget()
        if self.exact_resume:
            self.action, self.reward = np.array(state["action"]), np.array(state["reward"])
            self.resetting = np.array(state["resetting"])


def with_previous(space: spaces.Space, action_space: spaces.Space) -> spaces.Dict:
    """Space of observations with the last action and reward.

    Raises:
        TypeError: actions are nested.
        ValueError: observations have parts of these names.
    """
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"obs": space}
    for key in (ACTION, REWARD):
        if key in parts:
            raise ValueError(f"show_previous: the observations have a part '{key}' of their own")
    size = len(
        action_encoder(action_space)(np.zeros((1, *(action_space.shape or ())), action_space.dtype))[0]
    )
    # No bounds: what is shown while nothing was done need not be an action.
    parts[ACTION] = spaces.Box(-np.inf, np.inf, (size,), np.float32)
    parts[REWARD] = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    return spaces.Dict(parts)


def action_encoder(space: spaces.Space) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from actions `[B, ...]` to vectors `[B, D]`: one-hot for each choice, numbers as they are."""
    match space:
        case spaces.Discrete():
            rows, start = np.eye(int(space.n), dtype=np.float32), space.start
            return lambda action: rows[action - start]
        case spaces.MultiDiscrete():
            codes = [np.eye(int(n), dtype=np.float32) for n in space.nvec.ravel()]
            starts = space.start.ravel()

            def encode(action: np.ndarray) -> np.ndarray:
                columns = (action.reshape(len(action), -1) - starts).T
                return np.concatenate([code[column] for code, column in zip(codes, columns, strict=True)], -1)

            return encode
        case spaces.Box() | spaces.MultiBinary():
            return lambda action: action.reshape(len(action), -1).astype(np.float32)
    raise TypeError(f"show_previous takes actions that do not nest, got {space}")
