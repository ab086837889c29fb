"""No encoder: the latent is the observation, in units of its own deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from .observation_networks import PictureScaler, observation_scaler
from .world_model import ObservationModel


@dataclass(frozen=True)
class IdentityConfig:
    """Nothing to choose."""


class Identity(ObservationModel):
    """For vectors that are the state itself; there is nothing to compress and nothing to learn."""

    Config = IdentityConfig
    learns: ClassVar[bool] = False

    def __init__(self, space: spaces.Space, config: IdentityConfig):
        super().__init__()
        scaler = observation_scaler(space)
        if isinstance(scaler, PictureScaler):
            raise TypeError("encoder 'identity' is for vectors, not for pictures; use vae or autoencoder")
        self.scaler = scaler
        self.latent_size = scaler.size

    def encode(self, obs: Tensor) -> Tensor:
        """Scale."""
        return self.scaler(obs)

    def decode(self, latent: Tensor) -> Tensor:
        """Scale back."""
        return self.scaler.inverse(latent)  # type: ignore[operator]

    def loss(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Nothing is lost."""
        return torch.zeros((), device=obs.device), {}
