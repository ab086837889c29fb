"""Reconstruction of observations from the encoder's features: the autoencoder beside an agent (SAC+AE's idea)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor, nn

from ...networks.encoder import Encoder
from ...networks.observations import torch_flatten
from ...networks.vectors import flat_size, leaf_spaces
from ..storage.sequences import to_tensors
from .auxiliary import Auxiliary, AuxiliaryConfig, RecentSteps


@dataclass(frozen=True)
class ReconstructConfig(AuxiliaryConfig):
    """Reconstruction of observations from features."""

    hidden: Annotated[int, Gt(0)] = 256
    """Width of the decoder's layer."""


class Reconstruct(Auxiliary):
    """A perceptron decodes what was seen; changed views are not needed, so none of their options count."""

    Config = ReconstructConfig

    def __init__(
        self, encoder: Encoder, obs_space: spaces.Space, steps: RecentSteps, config: ReconstructConfig
    ):
        super().__init__(encoder, obs_space, steps, config)
        size = sum(map(flat_size, leaf_spaces(obs_space)))
        self.vector = torch_flatten(obs_space)
        self.decoder = nn.Sequential(
            nn.Linear(encoder.size, config.hidden), nn.ReLU(), nn.Linear(config.hidden, size)
        )

    def draw(self) -> Any:
        """Recent observations."""
        if not len(self.steps):
            return None
        return to_tensors(self.steps.draw(self.config.batch_size, 0).obs, self.device)

    def own_loss(self, drawn: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Half the squared error, a mean over numbers; as accuracy the share of the variance that is explained."""
        target = self.vector(drawn)
        error = (self.decoder(self.features(drawn)) - target).square().mean()
        variance = (target - target.mean(0)).square().mean()
        metrics = {"auxiliary/loss": error / 2, "auxiliary/accuracy": 1 - error / (variance + 1e-8)}
        return error / 2, metrics
