"""Agents from outside are tried once when they are built, as encoders and memories are."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import create_empty_array

from ..networks.contract import two_observations
from ..networks.tree import tree_map
from .agent import Agent


def check_agent(agent: Agent, observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """Let an agent choose for two observations, without exploring; what it raises itself is left as it is.

    Raises:
        TypeError: `initial_state`, `act` or `parts` returns something else than `Agent` says.
    """
    name = type(agent).__name__
    state = agent.initial_state(2)
    if not isinstance(state, np.ndarray) or state.ndim != 2 or len(state) != 2:
        raise TypeError(f"{name}.initial_state(2) returns {_described(state)}; expected is an array (2, S)")
    found: Any = agent.act(two_observations(observation_space), state, np.ones(2, bool), False)
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(f"{name}.act returns {_described(found)}; expected are actions and the next memory")
    action, after = found
    wanted = tree_map(np.shape, create_empty_array(action_space, 2))
    shapes = tree_map(np.shape, action)
    if shapes != wanted:
        raise TypeError(f"{name}.act chooses {shapes} for two observations; expected are actions {wanted}")
    if not isinstance(after, np.ndarray) or after.shape != state.shape:
        raise TypeError(f"{name}.act returns as next memory {_described(after)}; expected is {state.shape}")
    parts: Any = agent.parts()
    if not isinstance(parts, dict):
        raise TypeError(f"{name}.parts returns {_described(parts)}; expected is a dict")
    for key, part in parts.items():
        if not hasattr(part, "state_dict") and not isinstance(part, np.random.Generator):
            raise TypeError(
                f"{name}.parts: {key!r} is {_described(part)}, which has no state_dict for a checkpoint"
            )


def _described(value: Any) -> str:
    """What a value is, in a word or its shape."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
