"""The previous action and reward as parts of observations: what an agent with a memory can learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.action_spaces import is_nested, simplified
from ...networks.vectors import flat_size, leaf_observations, leaf_spaces, numpy_vector
from ..vector import Envs
from .added_parts import AddedParts, Parts

ACTION, REWARD = "previous_action", "previous_reward"


class ShowPrevious(AddedParts):
    """Adds the previous action `[B, D]` and reward `[B, 1]` to observations; choices are one-hot."""

    def __init__(self, envs: Envs):
        self.encode = action_encoder(envs.action_space)
        size = sum(map(flat_size, leaf_spaces(simplified(envs.action_space))))
        super().__init__(envs, "show_previous", {ACTION: size, REWARD: 1})

    def parts_after(self, obs: Any, action: Any, reward: np.ndarray, parts: Parts) -> Parts:
        """Action and reward of the step."""
        # A copy: whoever chose the action may change it.
        return {ACTION: np.array(self.encode(action)), REWARD: reward.astype(np.float32)[:, None]}


def action_encoder(space: spaces.Space) -> Callable[[Any], np.ndarray]:
    """Return a function from actions `[B, ...]` to vectors `[B, D]`: one-hot for each choice, numbers as they are."""
    simple = simplified(space)
    encoders = [numpy_vector(leaf) for leaf in leaf_spaces(simple)]
    if not is_nested(simple):
        return encoders[0]

    def encode(action: Any) -> np.ndarray:
        leaves = zip(encoders, leaf_observations(simple, action), strict=True)
        return np.concatenate([encoder(leaf) for encoder, leaf in leaves], -1)

    return encode
