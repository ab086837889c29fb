"""The last action and the last reward beside what an environment shows: what an agent with a memory can learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.vectors import VECTOR_SPACES, flat_size, numpy_vector
from ..vector import Backend
from .beside import Beside, Parts

ACTION, REWARD = "previous_action", "previous_reward"


class ShowPrevious(Beside):
    """Any backend, with the last action `[B, D]` and reward `[B, 1]` beside its observations; choices are one-hot."""

    def __init__(self, backend: Backend):
        self.encode = action_encoder(backend.action_space)
        super().__init__(backend, "show_previous", {ACTION: flat_size(backend.action_space), REWARD: 1})

    def follow(self, obs: Any, action: np.ndarray, reward: np.ndarray, parts: Parts) -> Parts:
        """What was done, and what it brought."""
        # A copy: whoever chose the action may change it.
        return {ACTION: np.array(self.encode(action)), REWARD: reward.astype(np.float32)[:, None]}


def action_encoder(space: spaces.Space) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from actions `[B, ...]` to vectors `[B, D]`: one-hot for each choice, numbers as they are."""
    if not isinstance(space, VECTOR_SPACES):
        raise TypeError(f"show_previous takes actions that do not nest, got {space}")
    return numpy_vector(space)
