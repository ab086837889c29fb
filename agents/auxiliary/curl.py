"""CURL: two views of one observation are alike, those of others are not (Laskin et al. 2020, arXiv:2004.04136)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor, nn

from ...networks.encoder import Encoder
from ..storage.sequences import to_tensors
from .auxiliary import Auxiliary, AuxiliaryConfig, RecentSteps, slow_copy


@dataclass(frozen=True)
class CURLConfig(AuxiliaryConfig):
    """Contrastive loss of two views of each observation."""

    latent_size: Annotated[int, Gt(0)] = 50
    """Numbers by which views are compared."""


class Views(NamedTuple):
    """Two views of the same observations `[N, ...]`, tensors."""

    query: Any
    key: Any


class CURL(Auxiliary):
    """InfoNCE between views of an observation: the encoder's, and those of its slow copy."""

    Config = CURLConfig

    def __init__(self, encoder: Encoder, obs_space: spaces.Space, steps: RecentSteps, config: CURLConfig):
        super().__init__(encoder, obs_space, steps, config)
        self.momentum_encoder = slow_copy(encoder)
        size = config.latent_size
        self.projection = nn.Sequential(nn.Linear(encoder.size, size), nn.LayerNorm(size))
        self.momentum_projection = slow_copy(self.projection)
        # Similarities are then of order 1 at first, as the latents have length sqrt(size).
        self.similarity = nn.Parameter(torch.eye(size) / size**0.5)

    def draw(self) -> Views | None:
        """Two views of recent observations."""
        if not len(self.steps):
            return None
        obs = self.steps.draw(self.config.batch_size, 0).obs
        views = [self.augment(obs, self.steps.generator) for _ in range(2)]
        return Views(*to_tensors(tuple(views), self.device))

    def own_loss(self, drawn: Views) -> tuple[Tensor, dict[str, Tensor]]:
        """InfoNCE, and the share of views that are most like their own other view."""
        query = self.projection(self.features(drawn.query))
        with torch.no_grad():
            key = self.momentum_projection(self.momentum_encoder(drawn.key))
        loss, accuracy = info_nce(query, key, self.similarity)
        return loss, {"auxiliary/loss": loss, "auxiliary/accuracy": accuracy}

    def followed(self) -> list[tuple[nn.Module, nn.Module]]:
        """The slow encoder and its projection."""
        return [(self.momentum_encoder, self.encoder), (self.momentum_projection, self.projection)]


def info_nce(query: Tensor, key: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE of queries and keys `[N, D]`, row for row, with similarities `q W k` (van den Oord et al. 2018).

    `-mean_i log(exp(q_i W k_i) / sum_j exp(q_i W k_j))`; with it the share of queries whose own key is the likest.
    """
    logits = query @ similarity @ key.T
    own = torch.arange(len(query), device=query.device)
    loss = nn.functional.cross_entropy(logits, own)
    return loss, (logits.argmax(1) == own).float().mean()
