"""Have the numbers that an agent or a world model learns stopped being numbers?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.normalize import RunningNormalizer
from ..networks.optimizer import FlatAdam


def broken_part(parts: Mapping[str, Any]) -> str | None:
    """Name of the first of `parts` whose parameters or moments hold NaN or infinity; None where all are finite.

    A sum for each tensor, and no look at single numbers where it is finite: 10 us for a small network.
    """
    for name, part in parts.items():
        for tensor in learned(part):
            if not math.isfinite(tensor.sum()) and not bool(torch.isfinite(tensor).all()):
                return name
    return None


def learned(part: Any) -> Iterator[Tensor]:
    """What changes in a part by learning: an optimiser's flat vectors, a module's parameters and running statistics."""
    if isinstance(part, FlatAdam):
        yield from (part.vector, part.mean, part.square)
    elif isinstance(part, nn.Module):
        yield from (tensor.detach() for tensor in part.parameters())
        for module in part.modules():
            # Of buffers no others: bounds of spaces, for instance, may be infinite.
            if isinstance(module, RunningNormalizer):
                yield from module.buffers()


def broken_metric(metrics: Mapping[str, Any]) -> str | None:
    """The first loss or gradient among sums or means of metrics that is not finite, as `loss/value is nan`.

    Other metrics may be infinite for a while where all that is learned is sound: a divergence of policies, for one.
    """
    for name, value in metrics.items():
        if name.startswith("loss/") or name.endswith("gradient_norm"):
            number = float(value)
            if not math.isfinite(number):
                return f"{name} is {number}"
    return None
