"""Means over what counts."""

from __future__ import annotations

from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `x` over the entries where `mask` is true, 0 where it is nowhere; of all of them when it is None."""
    return x.mean() if mask is None else (x * mask).sum() / mask.sum().clamp(min=1)
