"""The previous action and reward as parts of observations: what an agent with a memory can learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from ..vector import Envs
from .added_parts import AddedParts, Parts

ACTION, REWARD = "previous_action", "previous_reward"


class ShowPrevious(AddedParts):
    """Adds the previous action `[B, D]` and reward `[B, 1]` to observations; choices are one-hot."""

    def __init__(self, envs: Envs):
        self.encode = action_encoder(envs.action_space)
        example = np.zeros((1, *(envs.action_space.shape or ())), envs.action_space.dtype)
        super().__init__(envs, "show_previous", {ACTION: self.encode(example).shape[1], REWARD: 1})

    def parts_after(self, obs: Any, action: Any, reward: np.ndarray, parts: Parts) -> Parts:
        """Action and reward of the step."""
        return {ACTION: self.encode(action), REWARD: reward.astype(np.float32)[:, None]}


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
