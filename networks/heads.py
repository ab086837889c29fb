"""Heads: the last layer of a network. The action space decides which policy head fits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from .action_spaces import SAMPLED
from .distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    MultiCategorical,
    Policy,
    SquashedGaussian,
)
from .layers import orthogonal
from .masks import ActionMask, masked
from .pictures import bounded


class Normals(Protocol):
    """A source of standard normal noise; a NumPy generator is one."""

    def standard_normal(self, shape: tuple[int, ...], dtype: type, /) -> np.ndarray:
        """Values `shape`."""
        ...


class PolicyHead(nn.Module, ABC):
    """Features to a distribution over actions; and, in NumPy, from the layer's outputs to an action."""

    layer: nn.Linear

    def __init__(self, space: spaces.Space, mask_space: spaces.Space | None):
        super().__init__()
        self.allowed = ActionMask(mask_space, space)

    @abstractmethod
    def distribution(self, outputs: Tensor) -> Policy:
        """Distribution over actions, given the layer's outputs `[..., K]`."""

    @abstractmethod
    def choose(self, outputs: np.ndarray, generator: Any | None) -> np.ndarray:
        """Actions `[B, ...]` for outputs `[B, K]`: sampled, or the most likely ones when `generator` is None."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Policy:
        """Distribution over actions, given features `[..., size]` and an `allowed` mask `[..., K]`."""
        return self.distribution(masked(self.layer(features), mask))


class CategoricalHead(PolicyHead):
    """For Discrete actions."""

    def __init__(
        self, size: int, space: spaces.Discrete, gain: float, mask_space: spaces.Space | None = None
    ):
        super().__init__(space, mask_space)
        self.start = int(space.start)
        self.layer = orthogonal(nn.Linear(size, int(space.n)), gain)

    def distribution(self, outputs: Tensor) -> Policy:
        """Categorical over the actions."""
        return Categorical(outputs) if self.start == 0 else _Shifted(Categorical(outputs), self.start)

    def choose(self, outputs: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        """Integer actions `[B]`."""
        return sample_categorical(outputs, generator) + self.start


class MultiCategoricalHead(PolicyHead):
    """For one-dimensional MultiDiscrete actions."""

    def __init__(
        self, size: int, space: spaces.MultiDiscrete, gain: float, mask_space: spaces.Space | None = None
    ):
        super().__init__(space, mask_space)
        self.sizes = [int(n) for n in space.nvec]
        self.start = np.asarray(space.start)
        self.layer = orthogonal(nn.Linear(size, sum(self.sizes)), gain)

    def distribution(self, outputs: Tensor) -> Policy:
        """Independent categoricals."""
        inner = MultiCategorical(outputs, self.sizes)
        return (
            _Shifted(inner, torch.as_tensor(self.start, device=outputs.device)) if self.start.any() else inner
        )

    def choose(self, outputs: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        """Integer actions `[B, D]`."""
        parts = np.split(outputs, np.cumsum(self.sizes)[:-1], axis=-1)
        return np.stack([sample_categorical(part, generator) for part in parts], axis=-1) + self.start


class BernoulliHead(PolicyHead):
    """For one-dimensional MultiBinary actions."""

    def __init__(
        self, size: int, space: spaces.MultiBinary, gain: float, mask_space: spaces.Space | None = None
    ):
        super().__init__(space, mask_space)
        self.layer = orthogonal(nn.Linear(size, space.shape[0]), gain)

    def distribution(self, outputs: Tensor) -> Policy:
        """Independent yes-or-no choices."""
        return Bernoulli(outputs)

    def choose(self, outputs: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        """0/1 actions `[B, D]`, int8."""
        # A logistic variable above -logit is an event of probability sigmoid(logit).
        threshold = 0.0 if generator is None else generator.logistic(size=outputs.shape)
        return (outputs > threshold).astype(np.int8)


class GaussianHead(PolicyHead):
    """For Box actions: a Gaussian in units in which the bounds are [-1, 1], with a state-independent deviation.

    Unbounded dimensions keep their own units. Actions come out in the environment's units and are not clipped:
    their log-probability would be that of another action. The environment clips what it executes. With `squash`
    a tanh keeps them inside the bounds instead.
    """

    center: Tensor
    half_range: Tensor

    def __init__(self, size: int, space: spaces.Box, gain: float, log_std: float, squash: bool):
        super().__init__(space, None)
        self.shape = space.shape
        low, high = space.low.astype(np.float64).flatten(), space.high.astype(np.float64).flatten()
        known = bounded(space).ravel()
        if squash and not known.all():
            raise ValueError(f"squash needs bounded actions, got {space}; leave squash off")
        middle = np.where(known, low, 0.0) + np.where(known, high - low, 0.0) / 2
        self.register_buffer("center", torch.as_tensor(middle, dtype=torch.float32))
        half = np.where(known, (np.where(known, high, 1.0) - np.where(known, low, -1.0)) / 2, 1.0)
        half[half == 0] = 1.0  # a dimension without a choice: whatever comes out, the environment clips it
        self.register_buffer("half_range", torch.as_tensor(half, dtype=torch.float32))
        self.layer = orthogonal(nn.Linear(size, len(low)), gain)
        self.log_std = nn.Parameter(torch.full((len(low),), float(log_std)))
        self.squash = squash

    def distribution(self, outputs: Tensor) -> Policy:
        """Gaussian, squashed or not, over actions in the environment's units."""
        inner = SquashedGaussian if self.squash else DiagonalGaussian
        return _Rescaled(inner(outputs, self.log_std), self.center, self.half_range, outputs.shape[:-1])

    def choose(self, outputs: np.ndarray, generator: Normals | None) -> np.ndarray:
        """Float actions `[B, *shape]` in the environment's units."""
        action = outputs
        if generator is not None:
            noise = generator.standard_normal(outputs.shape, np.float32)
            action = action + noise * self.log_std.detach().exp().cpu().numpy()
        if self.squash:
            action = np.tanh(action)
        action = self.center.cpu().numpy() + action * self.half_range.cpu().numpy()
        return action.reshape(len(outputs), *self.shape)


class _Shifted:
    """A distribution over integers that start at `start` instead of 0."""

    def __init__(self, inner: Policy, start: int | Tensor):
        self.inner = inner
        self.start = start

    def log_prob(self, action: Tensor) -> Tensor:
        return self.inner.log_prob(action - self.start)

    def entropy(self) -> Tensor:
        return self.inner.entropy()


class _Rescaled:
    """A distribution over vectors, moved and stretched to `center + half_range * x`."""

    def __init__(self, inner: Policy, center: Tensor, half_range: Tensor, lead: torch.Size):
        self.inner = inner
        self.lead = lead
        self.center = center
        self.half_range = half_range

    def log_prob(self, action: Tensor) -> Tensor:
        flat = action.reshape(*self.lead, -1)
        return self.inner.log_prob((flat - self.center) / self.half_range) - self.half_range.log().sum()

    def entropy(self) -> Tensor:
        return self.inner.entropy() + self.half_range.log().sum()


def policy_head(
    size: int,
    action_space: spaces.Space,
    *,
    mask_space: spaces.Space | None = None,
    gain: float = 0.01,
    log_std: float = 0.0,
    squash: bool = False,
) -> PolicyHead:
    """Return the head that fits an action space; `mask_space` is that of the observations' action masks.

    The small `gain` starts every policy near uniform (Andrychowicz et al. 2021, section 3.2).
    """
    if SAMPLED.include(action_space):
        match action_space:
            case spaces.Discrete():
                return CategoricalHead(size, action_space, gain, mask_space)
            case spaces.MultiDiscrete():
                return MultiCategoricalHead(size, action_space, gain, mask_space)
            case spaces.MultiBinary():
                return BernoulliHead(size, action_space, gain, mask_space)
            case spaces.Box():
                return GaussianHead(size, action_space, gain, log_std, squash)
    raise TypeError(f"no policy for {' '.join(str(action_space).split())}, only for {SAMPLED.name}")


def value_head(size: int) -> nn.Module:
    """Features to one value, orthogonal with gain 1; squeeze the last axis."""
    return orthogonal(nn.Linear(size, 1), 1.0)


def sample_categorical(logits: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
    """Integers `[B]` from logits `[B, K]`: sampled by the Gumbel-max trick, or the largest without a generator."""
    if generator is None:
        return logits.argmax(-1)
    # -log of an exponential variable is a Gumbel variable. In float64: one in seven million float32 draws is zero.
    return (logits - np.log(generator.standard_exponential(logits.shape))).argmax(-1)
