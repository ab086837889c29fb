"""A backend around another one, which changes what it shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends.failure import Failure
from ..vector import Backend


class Around(Backend):
    """Everything that a backend passes on unchanged when it lies around another one."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self.num_envs, self.action_space = backend.num_envs, backend.action_space
        self.autoreset_mode = backend.autoreset_mode
        self.exact_resume = backend.exact_resume
        self.metadata = backend.metadata
        self.name = backend.name  # type: ignore[misc]

    @property
    def seeds(self) -> list[int | None]:  # type: ignore[override]
        """What the running episodes were reset with."""
        return self.backend.seeds

    @property
    def failures(self) -> list[Failure]:  # type: ignore[override]
        """Copies that failed."""
        return self.backend.failures

    def replace(self, index: int) -> None:
        """Make one copy anew."""
        self.backend.replace(index)

    def render(self, index: int) -> np.ndarray:
        """Picture of one environment."""
        return self.backend.render(index)

    def close(self) -> None:
        """Release windows, processes and files."""
        self.backend.close()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring the environments back."""
        self.backend.load_state_dict(state["backend"])
