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
    """The first of `parts` that is lost, as `policy holds NaN or infinity`; None where all are sound.

    Parameters are lost, too, where the sum of their squares is beyond their type: what they are multiplied by
    overflows, or saturates so that nothing is learned any more. One reduction for each tensor, and no look at single
    numbers where it is finite: 10 us for a small network.
    """
    for name, part in parts.items():
        for tensor in parameters(part):
            flat = tensor.reshape(-1)
            if not math.isfinite(flat.dot(flat)):
                finite = bool(torch.isfinite(flat).all())
                return f"{name} holds {f'numbers up to {float(flat.abs().max()):.0e}' if finite else 'NaN or infinity'}"
        for tensor in statistics(part):
            if not math.isfinite(tensor.sum()) and not bool(torch.isfinite(tensor).all()):
                return f"{name} holds NaN or infinity"
    return None


def parameters(part: Any) -> Iterator[Tensor]:
    """What a part's gradients change."""
    if isinstance(part, FlatAdam):
        yield part.vector
    elif isinstance(part, nn.Module):
        yield from (tensor.detach() for tensor in part.parameters())


def statistics(part: Any) -> Iterator[Tensor]:
    """What else changes in a part by learning: an optimiser's moments, a module's running statistics."""
    if isinstance(part, FlatAdam):
        yield from (part.mean, part.square)
    elif isinstance(part, nn.Module):
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
