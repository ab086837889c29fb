"""Prediction of the encoder's own future features from the actions that follow (SPR, Schwarzer et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor, nn

from ...networks.encoder import Encoder
from ...networks.means import masked_mean
from ...networks.tree import tree_map
from ..storage.sequences import to_tensors
from .auxiliary import Auxiliary, AuxiliaryConfig, RecentSteps, slow_copy


@dataclass(frozen=True)
class PredictConfig(AuxiliaryConfig):
    """Action-conditioned prediction of future features."""

    horizon: Annotated[int, Gt(0)] = 3
    """Steps ahead that are predicted."""
    latent_size: Annotated[int, Gt(0)] = 64
    """Numbers by which prediction and target are compared."""
    hidden: Annotated[int, Gt(0)] = 128
    """Width of the layer in the model of transitions."""


class Futures(NamedTuple):
    """Observations `[N, ...]` and the K steps after them, tensors."""

    obs: Any
    action: Tensor
    """`[K, N, A]`"""
    next_obs: Any
    """`[K * N, ...]`"""
    valid: Tensor
    """`[K, N]`"""


class Predict(Auxiliary):
    """Features go on by a small model of transitions, one action at a time; targets are the slow copy's features."""

    Config = PredictConfig

    def __init__(self, encoder: Encoder, obs_space: spaces.Space, steps: RecentSteps, config: PredictConfig):
        super().__init__(encoder, obs_space, steps, config)
        self.momentum_encoder = slow_copy(encoder)
        size = config.latent_size
        self.projection = nn.Linear(encoder.size, size)
        self.momentum_projection = slow_copy(self.projection)
        self.transition = nn.Sequential(
            nn.Linear(size + steps.action_size, config.hidden), nn.ReLU(), nn.Linear(config.hidden, size)
        )
        # Without a predictor of its own on this side only, all features could become one (Grill et al. 2020).
        self.predictor = nn.Linear(size, size)

    def draw(self) -> Futures | None:
        """Views of recent observations and of the observations after them."""
        if not len(self.steps):
            return None
        config, generator = self.config, self.steps.generator
        steps = self.steps.draw(config.batch_size, config.horizon)
        next_obs = tree_map(lambda x: x.reshape(-1, *x.shape[2:]), steps.next_obs)
        views = self.augment(steps.obs, generator), self.augment(next_obs, generator)
        obs, next_obs, action, valid = to_tensors((*views, steps.action, steps.valid), self.device)
        return Futures(obs, action, next_obs, valid)

    def own_loss(self, drawn: Futures) -> tuple[Tensor, dict[str, Tensor]]:
        """`2 - 2 cos` of prediction and target, a mean over steps within the episode."""
        latent = self.projection(self.features(drawn.obs))
        with torch.no_grad():
            target = standardized(self.momentum_projection(self.momentum_encoder(drawn.next_obs)))
            target = target.unflatten(0, drawn.valid.shape)
        predictions = []
        for action in drawn.action.unbind(0):
            latent = latent + self.transition(torch.cat([latent, action], -1))
            predictions.append(self.predictor(latent))
        similarity = cosine(torch.stack(predictions), target)
        loss = masked_mean(2 - 2 * similarity, drawn.valid)
        accuracy = nearest(predictions[0], target[0])
        return loss, {"auxiliary/loss": loss, "auxiliary/accuracy": accuracy}

    def followed(self) -> list[tuple[nn.Module, nn.Module]]:
        """The slow encoder and its projection."""
        return [(self.momentum_encoder, self.encoder), (self.momentum_projection, self.projection)]


def standardized(x: Tensor) -> Tensor:
    """Rows `[N, D]`, less their mean and in units of their deviation."""
    centered = x - x.mean(0)
    return centered * (centered.square().mean(0) + 1e-6).rsqrt()


def unit(x: Tensor) -> Tensor:
    """Vectors `[..., D]` of length 1; the square under the root keeps gradients finite at 0."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosine of the angle between vectors `[..., D]`."""
    return (unit(x) * unit(y)).sum(-1)


def nearest(prediction: Tensor, target: Tensor) -> Tensor:
    """Share of predictions `[N, D]` that are most like their own target, of all targets `[N, D]`."""
    likest = (unit(prediction) @ unit(target).T).argmax(1)
    return (likest == torch.arange(len(target), device=target.device)).float().mean()
