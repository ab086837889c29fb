"""Is one observation within a few steps of another? A siamese network, and the pairs that it learns from.

Savinov et al. 2019, "Episodic curiosity through reachability", arXiv:1810.02274.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Pairs(NamedTuple):
    """Places `(time, column)` of two observations each, and whether the second is within reach of the first."""

    earlier: tuple[np.ndarray, np.ndarray]
    later: tuple[np.ndarray, np.ndarray]
    reachable: np.ndarray
    """`[N]` float32, 1 or 0."""


def draw_pairs(
    piece: np.ndarray,
    count: int,
    near: int,
    far: int,
    generator: np.random.Generator,
    *,
    longest: int | None = None,
    across: bool = False,
) -> Pairs | None:
    """Draw up to `count` pairs, half of them reachable; None where there are none of one kind.

    Args:
        piece: `[T, B]` of consecutive steps: pieces of trajectories by number, -1 where nothing is to be drawn.
        count: of the pairs.
        near: reachable are 1 to so many steps.
        far: unreachable is what is more than so many steps later in the same piece.
        generator: draws them.
        longest: no piece has more steps.
        across: unreachable are any two that are not within `far` steps of each other in one piece; otherwise these are
            the last resort, where no piece is long enough.
    """
    positive = _within(piece, count // 2, 1, near, generator)
    negative = None if across else _within(piece, count // 2, far + 1, longest or len(piece), generator)
    if negative is None or not len(negative[0][0]):
        negative = _apart(piece, count // 2, far, generator)
    size = min(len(positive[0][0]), len(negative[0][0]))
    if not size:
        return None
    (a, b), (c, d) = positive, negative
    joined = [np.concatenate([x[:size], y[:size]]) for x, y in zip((*a, *b), (*c, *d), strict=True)]
    reachable = np.repeat(np.array([1.0, 0.0], np.float32), size)
    return Pairs((joined[0], joined[1]), (joined[2], joined[3]), reachable)


Places = tuple[np.ndarray, np.ndarray]
# Drawn for each pair that is wanted: many lie in two pieces, or in none.
ATTEMPTS = 8


def _within(
    piece: np.ndarray, count: int, least: int, most: int, generator: np.random.Generator
) -> tuple[Places, Places]:
    """At most `count` pairs in one piece, `least` to `most` steps apart."""
    length, columns = piece.shape
    most = min(most, length - 1)
    if most < least:
        none = np.zeros(0, np.int64)
        return (none, none), (none, none)
    gap = generator.integers(least, most + 1, count * ATTEMPTS)
    start = (generator.random(count * ATTEMPTS) * (length - gap)).astype(np.int64)
    column = generator.integers(0, columns, count * ATTEMPTS)
    fits = (piece[start, column] == piece[start + gap, column]) & (piece[start, column] >= 0)
    kept = np.flatnonzero(fits)[:count]
    return (start[kept], column[kept]), (start[kept] + gap[kept], column[kept])


def _apart(piece: np.ndarray, count: int, far: int, generator: np.random.Generator) -> tuple[Places, Places]:
    """At most `count` pairs of different pieces, or more than `far` steps apart."""
    length, columns = piece.shape
    times = generator.integers(0, length, (2, count * ATTEMPTS))
    column = generator.integers(0, columns, (2, count * ATTEMPTS))
    drawn = piece[times, column]
    distant = np.abs(times[0] - times[1]) > far
    fits = (drawn >= 0).all(0) & (distant | (drawn[0] != drawn[1]) | (column[0] != column[1]))
    kept = np.flatnonzero(fits)[:count]
    return (times[0][kept], column[0][kept]), (times[1][kept], column[1][kept])


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive scores higher than a negative, ties counting one half (area under the ROC curve)."""
    ordered = np.sort(negative)
    below, not_above = (np.searchsorted(ordered, positive, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(negative)))
