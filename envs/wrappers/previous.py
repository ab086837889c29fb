"""The previous action and reward as parts of observations: what an agent with a memory can learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.vectors import VECTOR_SPACES, flat_size, numpy_vector
from ..vector import Envs
from .added_parts import AddedParts, Parts

ACTION, REWARD = "previous_action", "previous_reward"


class ShowPrevious(AddedParts):
    """Adds the previous action `[B, D]` and reward `[B, 1]` to observations; choices are one-hot."""

    def __init__(self, envs: Envs):
        self.encode = action_encoder(envs.action_space)
        super().__init__(envs, "show_previous", {ACTION: flat_size(envs.action_space), REWARD: 1})

    def parts_after(self, obs: Any, action: Any, reward: np.ndarray, parts: Parts) -> Parts:
        """Action and reward of the step."""
        # A copy: whoever chose the action may change it.
        return {ACTION: np.array(self.encode(action)), REWARD: reward.astype(np.float32)[:, None]}


def action_encoder(space: spaces.Space) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from actions `[B, ...]` to vectors `[B, D]`: one-hot for each choice, numbers as they are."""
    if not isinstance(space, VECTOR_SPACES):
        raise TypeError(f"show_previous takes actions that do not nest, got {space}")
    return numpy_vector(space)
