"""No auxiliary loss: encoders learn from their agents' losses alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .auxiliary import Auxiliary


@dataclass(frozen=True)
class NoAuxiliaryConfig:
    """Nothing to choose."""


class NoAuxiliary(Auxiliary):
    """Draws nothing, so that there is never a loss; whoever builds torsos leaves it out."""

    Config = NoAuxiliaryConfig

    def draw(self) -> None:
        """Nothing to learn from."""

    def own_loss(self, drawn: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """No loss."""
        return torch.zeros(()), {}
