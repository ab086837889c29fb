"""Distributions over actions: what a policy network's outputs mean.

Batch shapes are `[...]`; an action is `[...]` (categorical) or `[..., D]` (the others). They only measure
actions (`log_prob`, `entropy`); sampling is done in NumPy by the heads, from a named generator.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

LOG_TWO_PI = math.log(2 * math.pi)


class Policy(Protocol):
    """A distribution over actions."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability (density) `[...]` of actions."""
        ...

    def entropy(self) -> Tensor:
        """Entropy `[...]` in nats."""
        ...


class Categorical:
    """One of `n` choices, from logits `[..., n]`."""

    def __init__(self, logits: Tensor):
        self.log_probs = logits.log_softmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability `[...]` of integer actions `[...]`."""
        return self.log_probs.gather(-1, action.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropy `[...]` in nats."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)


class MultiCategorical:
    """`D` independent choices of `sizes[d]` each, from logits `[..., sum(sizes)]`."""

    def __init__(self, logits: Tensor, sizes: list[int]):
        self.parts = [Categorical(part) for part in logits.split(sizes, -1)]

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability `[...]` of integer actions `[..., D]`."""
        columns = zip(self.parts, action.unbind(-1), strict=True)
        return torch.stack([part.log_prob(column) for part, column in columns]).sum(0)

    def entropy(self) -> Tensor:
        """Entropy `[...]` in nats."""
        return torch.stack([part.entropy() for part in self.parts]).sum(0)


class Bernoulli:
    """`D` independent yes-or-no choices, from logits `[..., D]`."""

    def __init__(self, logits: Tensor):
        self.logits = logits

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability `[...]` of 0/1 actions `[..., D]`."""
        return -nn.functional.binary_cross_entropy_with_logits(
            self.logits, action.to(self.logits.dtype), reduction="none"
        ).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy `[...]` in nats."""
        return nn.functional.binary_cross_entropy_with_logits(
            self.logits, self.logits.sigmoid(), reduction="none"
        ).sum(-1)


class DiagonalGaussian:
    """Independent normal distributions with mean `[..., D]` and log standard deviation `[D]`."""

    def __init__(self, mean: Tensor, log_std: Tensor):
        self.mean = mean
        self.log_std = log_std.expand_as(mean)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density `[...]` of actions `[..., D]`."""
        standard = (action - self.mean) * (-self.log_std).exp()
        return (-0.5 * standard.square() - self.log_std - 0.5 * LOG_TWO_PI).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy `[...]` in nats."""
        return (self.log_std + 0.5 * (1 + LOG_TWO_PI)).sum(-1)


class SquashedGaussian:
    """`tanh` of a diagonal Gaussian: actions in (-1, 1) by themselves."""

    # Gauss-Hermite nodes: the entropy of a squashed Gaussian has no closed form.
    NODES, WEIGHTS = np.polynomial.hermite.hermgauss(8)

    def __init__(self, mean: Tensor, log_std: Tensor):
        self.gaussian = DiagonalGaussian(mean, log_std)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density `[...]` of actions `[..., D]` inside (-1, 1)."""
        # float32 rounds tanh to exactly 1 from about 9 on, where its inverse is infinite.
        before = torch.atanh(action.clamp(-1 + 1e-6, 1 - 1e-6))
        return self.gaussian.log_prob(before) - _log_slope_of_tanh(before).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy `[...]` in nats, the log-Jacobian integrated with eight Gauss-Hermite nodes."""
        nodes = torch.as_tensor(
            self.NODES * math.sqrt(2), dtype=torch.float32, device=self.gaussian.mean.device
        )
        weights = torch.as_tensor(self.WEIGHTS / math.sqrt(math.pi), dtype=torch.float32, device=nodes.device)
        before = self.gaussian.mean.unsqueeze(-1) + self.gaussian.log_std.exp().unsqueeze(-1) * nodes
        return self.gaussian.entropy() + (_log_slope_of_tanh(before) * weights).sum(-1).sum(-1)


class Product:
    """Independent distributions side by side, over rows `[..., D]` of which part `i` has `sizes[i]` columns.

    log p(a) = sum_i log p_i(a_i),   H = sum_i H_i
    """

    def __init__(self, parts: list[Policy], sizes: list[int]):
        self.parts = parts
        self.sizes = sizes

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability (density) `[...]` of actions `[..., D]`."""
        pairs = zip(self.parts, action.split(self.sizes, -1), strict=True)
        return torch.stack([part.log_prob(own) for part, own in pairs]).sum(0)

    def entropy(self) -> Tensor:
        """Entropy `[...]` in nats."""
        return torch.stack([part.entropy() for part in self.parts]).sum(0)


def _log_slope_of_tanh(x: Tensor) -> Tensor:
    """`log(1 - tanh(x)^2)`, stable for large `|x|`."""
    return 2 * (math.log(2) - x - nn.functional.softplus(-2 * x))
