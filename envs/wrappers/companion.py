"""Somebody else's memory beside what an environment shows: an agent without one sees what that one remembers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..vector import Backend
from .beside import Beside, Parts

MEMORY = "model_memory"


class Companion(Protocol):
    """What looks on while an agent acts, and remembers."""

    state_size: int
    """Width S of its memory."""

    def remember(self, obs: Any, action: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Memory `[B, S]` (float32) after `action` was done where `obs` was seen; it is 0 when an episode begins."""
        ...


class ShowMemory(Beside):
    """Any backend, with a companion's memory `[B, S]` beside its observations."""

    def __init__(self, backend: Backend, companion: Companion):
        super().__init__(backend, "show_model_memory", {MEMORY: companion.state_size})
        self.companion = companion

    def follow(self, obs: Any, action: np.ndarray, reward: np.ndarray, parts: Parts) -> Parts:
        """What it remembers now."""
        return {MEMORY: self.companion.remember(obs, action, parts[MEMORY])}
