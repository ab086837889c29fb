"""Autoencoder of observations; with `noise` or `hidden_share` a denoising one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from gymnasium import spaces
from torch import Tensor

from .observation_networks import (
    ObservationNetworksConfig,
    build_networks,
    denoising_input,
    observation_scaler,
)
from .world_model import ObservationModel


@dataclass(frozen=True)
class AutoencoderConfig(ObservationNetworksConfig):
    """Autoencoder."""

    latent_penalty: Annotated[float, Ge(0)] = 1e-6
    """Weight of half the squared length of the latent, so that it does not grow without bound."""


class Autoencoder(ObservationModel):
    """Deterministic; `0.5 * sum (x - decoded)^2`, the likelihood of a unit Gaussian without its constant."""

    Config = AutoencoderConfig

    def __init__(self, space: spaces.Space, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.latent_size = config.latent_size
        self.scaler = observation_scaler(space)
        self.encoder, self.decoder = build_networks(self.scaler, config, config.latent_size)

    def encode(self, obs: Tensor) -> Tensor:
        """Latents `[N, Z]`."""
        return self.encoder(self.scaler(obs))

    def decode(self, latent: Tensor) -> Tensor:
        """Observations."""
        return self.scaler.inverse(self.decoder(latent))  # type: ignore[operator]

    def loss(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the clean observation, summed over it, and the latent's length; means over the batch."""
        x = self.scaler(obs)
        latent = self.encoder(denoising_input(x, self.config, generator))
        error = (x - self.decoder(latent)).square().flatten(1).sum(-1)
        length = latent.square().sum(-1)
        loss = 0.5 * (error + self.config.latent_penalty * length).mean()
        return loss, {"loss/reconstruction": 0.5 * error.mean(), "latent/length": length.sqrt().mean()}
