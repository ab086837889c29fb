"""No memory: every step for itself. State has width zero, so that agents need not ask."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..torso import Memory


@dataclass(frozen=True)
class NoMemoryConfig:
    """Nothing to choose."""


class NoMemory(Memory):
    """The identity, with a state `[B, 0]`."""

    Config = NoMemoryConfig

    def __init__(self, input_size: int, config: NoMemoryConfig):
        super().__init__()
        self.size = input_size
        self.state_size = 0

    def forward(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x` and `state` as they are."""
        return x, state

    @property
    def traceable(self) -> bool:
        """Nothing is in the way."""
        return True
