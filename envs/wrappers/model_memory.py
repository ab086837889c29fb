"""A world model's memory as a part of observations, for agents without a memory of their own."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..vector import Envs
from .added_parts import AddedParts, Parts

MEMORY = "model_memory"


class MemoryModel(Protocol):
    """A world model that keeps a memory of the real steps."""

    state_size: int
    """Width S of its memory."""

    def update(self, obs: Any, action: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Memory `[B, S]` (float32) after `action` was done on `obs`; it is 0 when an episode begins."""
        ...


class ShowModelMemory(AddedParts):
    """Adds a world model's memory `[B, S]` to observations."""

    def __init__(self, envs: Envs, model: MemoryModel):
        super().__init__(envs, "show_model_memory", {MEMORY: model.state_size})
        self.model = model

    def parts_after(self, obs: Any, action: Any, reward: np.ndarray, parts: Parts) -> Parts:
        """The memory after the step."""
        return {MEMORY: self.model.update(obs, action, parts[MEMORY])}
