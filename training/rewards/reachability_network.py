"""Is one observation within a few steps of another? A siamese network, which learns from pairs.

Savinov et al. 2019, "Episodic curiosity through reachability", arXiv:1810.02274.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from ...networks.layers import mlp, orthogonal
from .features import Features, Inputs


class ReachabilityNetwork(nn.Module):
    """Two observations through one encoder (twins that share their weights), then a comparator of the embeddings."""

    def __init__(self, space: spaces.Space, hidden: tuple[int, ...], size: int):
        super().__init__()
        self.inputs = Inputs(space)
        self.encoder = Features(self.inputs, hidden, size)
        width = hidden[-1] if hidden else size
        self.comparator = nn.Sequential(mlp((2 * size, width), "relu"), orthogonal(nn.Linear(width, 1), 1.0))
        self.size = size

    def embed(self, obs: Any) -> Tensor:
        """Embeddings `[N, size]` of observations `[N, ...]`."""
        return self.encoder(self.inputs(obs))

    def compare(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Logits `[...]` of reaching the later from the earlier in a few steps, for embeddings `[..., size]`."""
        return self.comparator(torch.cat([earlier, later], -1)).squeeze(-1)

    def forward(self, earlier: Any, later: Any) -> Tensor:
        """Logits `[N]` for observations `[N, ...]`."""
        return self.compare(self.embed(earlier), self.embed(later))

    def loss(self, earlier: Any, later: Any, reachable: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logistic loss of pairs `[N]`; `reachable` is 1 or 0."""
        logit = self(earlier, later)
        loss = nn.functional.binary_cross_entropy_with_logits(logit, reachable)
        return loss, {"loss": loss}


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive scores higher than a negative, ties counting one half (area under the ROC curve)."""
    ordered = np.sort(negative)
    below, not_above = (np.searchsorted(ordered, positive, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(negative)))
