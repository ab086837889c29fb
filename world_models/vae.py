"""Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114), with beta, free bits and a learned variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import softplus

from .losses import free_bits, gaussian_kl, gaussian_nll
from .observation_networks import (
    ObservationNetworksConfig,
    build_networks,
    denoising_input,
    observation_scaler,
)
from .world_model import ObservationModel

# Of what is learned: a deviation of 0.0025, half a step of 8 bits (softly, as in the authors' code).
SMALLEST_LOG_STD = -6.0


@dataclass(frozen=True)
class VAEConfig(ObservationNetworksConfig):
    """Variational autoencoder."""

    beta: Annotated[float, Ge(0)] = 1.0
    """Weight of the KL; both terms are in nats, so 1 is the evidence lower bound."""
    free_nats: Annotated[float, Ge(0)] = 0.0
    """An observation's KL below this costs nothing."""
    observation_std: Annotated[float, Gt(0)] = 0.1
    """Deviation of what is decoded: of numbers from 0 to 1 in pictures, of scaled numbers in vectors."""
    learn_std: bool = False
    """Learn that deviation, one for all (sigma-VAE, Rybkin et al. 2021): beta then needs no tuning."""

    def __post_init__(self) -> None:
        if self.learn_std and self.observation_std <= math.exp(SMALLEST_LOG_STD):
            smallest = f"{math.exp(SMALLEST_LOG_STD):.4f}"
            raise ValueError(
                f"observation_std: must be above {smallest} to be learned, got {self.observation_std}"
            )


class VAE(ObservationModel):
    """Gaussian posteriors; reconstruction and KL are summed over their dimensions and averaged over the batch.

    Reducing them differently (a mean over pixels against a sum over latents) is the usual way to a posterior that
    ignores its observation.
    """

    Config = VAEConfig

    def __init__(self, space: spaces.Space, config: VAEConfig):
        super().__init__()
        self.config = config
        self.latent_size = config.latent_size
        self.scaler = observation_scaler(space)
        self.encoder, self.decoder = build_networks(self.scaler, config, 2 * config.latent_size)
        log_std = math.log(config.observation_std)
        if config.learn_std:  # undo the softplus of `observation_log_std`
            log_std = SMALLEST_LOG_STD + math.log(math.expm1(log_std - SMALLEST_LOG_STD))
        self.log_std = nn.Parameter(torch.tensor(log_std), requires_grad=config.learn_std)

    def observation_log_std(self) -> Tensor:
        """Log deviation of decoded observations; where it is learned, softly kept above a floor.

        Without the floor the likelihood of constant pictures grows for ever as the deviation goes to zero.
        """
        if not self.config.learn_std:
            return self.log_std
        return SMALLEST_LOG_STD + softplus(self.log_std - SMALLEST_LOG_STD)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance `[N, Z]` for scaled observations."""
        mean, log_variance = self.encoder(x).chunk(2, -1)
        return mean, log_variance.clamp(-20, 10)

    def encode(self, obs: Tensor) -> Tensor:
        """Means of the posteriors, `[N, Z]`."""
        return self.posterior(self.scaler(obs))[0]

    def decode(self, latent: Tensor) -> Tensor:
        """Observations."""
        return self.scaler.inverse(self.decoder(latent))  # type: ignore[operator]

    def loss(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative evidence lower bound of the clean observation, in nats, with beta and free bits."""
        x = self.scaler(obs)
        mean, log_variance = self.posterior(denoising_input(x, self.config, generator))
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        decoded = self.decoder(mean + noise * (0.5 * log_variance).exp())
        flat = x.flatten(1)
        log_std = self.observation_log_std()
        log_variance_of_x = (2 * log_std).expand_as(flat)
        reconstruction = gaussian_nll(flat, decoded.flatten(1), log_variance_of_x).mean()
        kl = gaussian_kl(mean, log_variance).sum(-1)
        loss = reconstruction + self.config.beta * free_bits(kl, self.config.free_nats).mean()
        return loss, {
            "loss/reconstruction": reconstruction,
            "loss/kl": kl.mean(),
            "loss/elbo": -(reconstruction + kl.mean()),
            "latent/observation_std": log_std.exp(),
        }
