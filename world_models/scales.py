"""Units that numbers are divided by."""

from __future__ import annotations

import torch
from torch import Tensor

# float32 has seven digits: a deviation below this share of the numbers themselves is rounding.
RELATIVE_THRESHOLD = 1e-6


def is_constant(deviation: Tensor, magnitude: Tensor) -> Tensor:
    """Whether numbers with this deviation, the largest of them `magnitude`, are constant but for rounding."""
    return deviation <= torch.clamp(RELATIVE_THRESHOLD * magnitude, min=torch.finfo(torch.float32).tiny)


def divisor(deviation: Tensor, magnitude: Tensor) -> Tensor:
    """`deviation`, or 1 where the numbers are constant: constants keep their own unit."""
    return torch.where(is_constant(deviation, magnitude), torch.ones_like(deviation), deviation)
