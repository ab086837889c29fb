"""What steps a batch of environments; `BackendEnvs` makes one contract of all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from .failure import Failure

NEXT_STEP, SAME_STEP, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED


class Backend(ABC):
    """What steps a batch of environments in its own auto-reset mode."""

    name: ClassVar[str]
    num_envs: int
    observation_space: spaces.Space
    action_space: spaces.Space
    autoreset_mode: AutoresetMode
    exact_resume: bool
    metadata: dict[str, Any]
    obs: Any
    """Latest observations `[B, ...]`."""
    seeds: list[int | None]
    """What the running episodes were reset with, where that is known."""
    failures: list[Failure]
    """Copies that failed in the last `step`, whose rows mean nothing, or in the last `start` or `restart`."""

    @abstractmethod
    def start(self) -> Any:
        """Begin the first episode everywhere, the same ones each time; returns `obs`."""

    @abstractmethod
    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Return obs, reward (float64), terminated, truncated, info; the arrays are never written again."""

    @abstractmethod
    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`; returns `obs`. Only with auto-reset disabled."""

    def replace(self, index: int) -> None:
        """Make one copy anew, which has failed; `restart` follows. Only of single environments."""
        raise NotImplementedError

    @abstractmethod
    def render(self, index: int) -> np.ndarray:
        """Picture `[height, width, 3]` of one environment."""

    @abstractmethod
    def close(self) -> None:
        """Release windows, processes and files."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where the environments are."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Bring them back there, or begin the episodes after that; returns whether they are where they were."""
