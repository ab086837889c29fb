"""Heads: the last layer of a network. The action space decides which policy head fits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from .action_spaces import SAMPLED, is_nested, simplified
from .distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    MultiCategorical,
    Policy,
    Product,
    SquashedGaussian,
)
from .layers import orthogonal
from .masks import ActionMask, masked, output_count
from .pictures import bounded
from .vectors import LARGEST_ONE_HOT, from_leaves, leaf_observations, leaf_spaces


class Normals(Protocol):
    """A source of standard normal noise; a NumPy generator is one."""

    def standard_normal(self, shape: tuple[int, ...], dtype: type, /) -> np.ndarray:
        """Values `shape`."""
        ...


class PolicyHead(nn.Module, ABC):
    """Features to a distribution over actions; and, in NumPy, from the layer's outputs to an action.

    Without a `size` of features it is a part of a `ProductHead`, whose one layer serves all parts.
    """

    layer: nn.Linear
    allowed: ActionMask
    """Reads the observations' action masks; `policy_head` sets it."""

    def __init__(self, size: int | None, outputs: int, gain: float):
        super().__init__()
        self.outputs = outputs
        if size is not None:
            self.layer = orthogonal(nn.Linear(size, outputs), gain)

    @abstractmethod
    def distribution(self, outputs: Tensor) -> Policy:
        """Distribution over actions, given the layer's outputs `[..., K]`."""

    @abstractmethod
    def choose(self, outputs: np.ndarray, generator: Any | None) -> Any:
        """Actions `[B, ...]` for outputs `[B, K]`: sampled, or the most likely ones when `generator` is None."""

    def stored(self, action: Any) -> np.ndarray:
        """Actions `[B, ...]` as the distribution measures them: as they are, if they do not nest."""
        return action

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Policy:
        """Distribution over actions, given features `[..., size]` and an `allowed` mask `[..., K]`."""
        return self.distribution(masked(self.layer(features), mask))


class CategoricalHead(PolicyHead):
    """For Discrete actions."""

    def __init__(self, size: int | None, space: spaces.Discrete, gain: float):
        super().__init__(size, int(space.n), gain)
        self.start = int(space.start)

    def distribution(self, outputs: Tensor) -> Policy:
        """Categorical over the actions."""
        return Categorical(outputs) if self.start == 0 else _Shifted(Categorical(outputs), self.start)

    def choose(self, outputs: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        """Integer actions `[B]`."""
        return sample_categorical(outputs, generator) + self.start


class MultiCategoricalHead(PolicyHead):
    """For MultiDiscrete actions."""

    def __init__(self, size: int | None, space: spaces.MultiDiscrete, gain: float):
        self.sizes = [int(n) for n in space.nvec.ravel()]
        super().__init__(size, sum(self.sizes), gain)
        # As the choices are: with unsigned ones NumPy would make floats, and torch refuses (2.13).
        self.start = np.asarray(space.start).astype(np.int64)

    def distribution(self, outputs: Tensor) -> Policy:
        """Independent categoricals."""
        inner = _row_wise(MultiCategorical(outputs, self.sizes), self.start.shape)
        return (
            _Shifted(inner, torch.as_tensor(self.start, device=outputs.device)) if self.start.any() else inner
        )

    def choose(self, outputs: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        """Integer actions `[B, *shape]`."""
        parts = np.split(outputs, np.cumsum(self.sizes)[:-1], axis=-1)
        choices = np.stack([sample_categorical(part, generator) for part in parts], axis=-1)
        return choices.reshape(len(outputs), *self.start.shape) + self.start


class BernoulliHead(PolicyHead):
    """For MultiBinary actions."""

    def __init__(self, size: int | None, space: spaces.MultiBinary, gain: float):
        super().__init__(size, math.prod(space.shape), gain)
        self.shape = space.shape

    def distribution(self, outputs: Tensor) -> Policy:
        """Independent yes-or-no choices."""
        return _row_wise(Bernoulli(outputs), self.shape)

    def choose(self, outputs: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        """0/1 actions `[B, *shape]`, int8."""
        # A logistic variable above -logit is an event of probability sigmoid(logit).
        threshold = 0.0 if generator is None else generator.logistic(size=outputs.shape)
        return (outputs > threshold).astype(np.int8).reshape(len(outputs), *self.shape)


class GaussianHead(PolicyHead):
    """For Box actions: a Gaussian in units in which the bounds are [-1, 1], with a state-independent deviation.

    Unbounded dimensions keep their own units. Actions come out in the environment's units and are not clipped:
    their log-probability would be that of another action. The environment clips what it executes. With `squash`
    a tanh keeps them inside the bounds instead.
    """

    center: Tensor
    half_range: Tensor

    def __init__(self, size: int | None, space: spaces.Box, gain: float, log_std: float, squash: bool):
        super().__init__(size, math.prod(space.shape), gain)
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


class ProductHead(PolicyHead):
    """For Tuple and Dict actions, nested to any depth: each part independent of the others.

    One layer has the outputs of all parts, one part after another. Agents keep actions as rows `[B, D]`: all parts
    flat, one after another, choices counted from 0.
    """

    def __init__(self, size: int, space: spaces.Space, gain: float, log_std: float, squash: bool):
        leaves = leaf_spaces(space)
        rows = [_as_row(leaf) for leaf in leaves]
        super().__init__(size, output_count(space), gain)
        heads = [_leaf_head(None, row, gain, log_std, squash) for row in rows]
        self.parts = nn.ModuleList(heads)
        self.heads: tuple[PolicyHead, ...] = tuple(heads)
        self.space = space
        self.shapes = [leaf.shape or () for leaf in leaves]
        self.starts = [np.asarray(getattr(leaf, "start", 0)).astype(np.int64) for leaf in leaves]
        self.widths = [head.outputs for head in heads]
        self.sizes = [math.prod(shape) for shape in self.shapes]

    def distribution(self, outputs: Tensor) -> Policy:
        """Product of the distributions of all parts, over rows `[..., D]`."""
        pairs = zip(self.heads, outputs.split(self.widths, -1), strict=True)
        return Product([part.distribution(own) for part, own in pairs], self.sizes)

    def choose(self, outputs: np.ndarray, generator: np.random.Generator | None) -> Any:
        """Dicts and tuples of actions `[B, ...]`."""
        columns = np.split(outputs, np.cumsum(self.widths)[:-1], -1)
        chosen = []
        for part, own, shape, start in zip(self.heads, columns, self.shapes, self.starts, strict=True):
            action = part.choose(own, generator).reshape(len(own), *shape)
            chosen.append(action + start if start.any() else action)
        return from_leaves(self.space, chosen)

    def stored(self, action: Any) -> np.ndarray:
        """Rows `[B, D]`, float32: exact for as many choices as a layer can have outputs."""
        leaves = zip(leaf_observations(self.space, action), self.starts, strict=True)
        return np.concatenate(
            [(leaf - start).reshape(len(leaf), -1) for leaf, start in leaves], -1, dtype=np.float32
        )


class _Shifted:
    """A distribution over integers that start at `start` instead of 0."""

    def __init__(self, inner: Policy, start: int | Tensor):
        self.inner = inner
        self.start = start

    def log_prob(self, action: Tensor) -> Tensor:
        # Torch cannot subtract from unsigned numbers of more than a byte (2.13).
        return self.inner.log_prob(action.long() - self.start)

    def entropy(self) -> Tensor:
        return self.inner.entropy()


def _row_wise(inner: Policy, shape: tuple[int, ...]) -> Policy:
    """A distribution over rows `[..., D]` as one over arrays `[..., *shape]`."""
    return inner if len(shape) == 1 else _Reshaped(inner, len(shape))


class _Reshaped:
    """A distribution over rows, of arrays with so many axes."""

    def __init__(self, inner: Policy, axes: int):
        self.inner = inner
        self.axes = axes

    def log_prob(self, action: Tensor) -> Tensor:
        return self.inner.log_prob(action.flatten(-self.axes) if self.axes else action.unsqueeze(-1))

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

    Raises:
        TypeError: there is no head for some part of the actions.
        ValueError: there are more choices than a layer should have outputs, or the masks do not fit.
    """
    name = " ".join(str(action_space).split())
    if not SAMPLED.include(action_space):
        raise TypeError(f"no policy for {name}, only for {SAMPLED.name}")
    space = simplified(action_space)
    if (outputs := output_count(space)) > LARGEST_ONE_HOT:
        raise ValueError(
            f"{name[:60]} needs {outputs:,} outputs of a policy, of which it can have {LARGEST_ONE_HOT:,}"
        )
    head: PolicyHead
    if is_nested(space):
        head = ProductHead(size, space, gain, log_std, squash)
    else:
        head = _leaf_head(size, space, gain, log_std, squash)
    head.allowed = ActionMask(mask_space, action_space)
    return head


def _leaf_head(
    size: int | None, space: spaces.Space, gain: float, log_std: float, squash: bool
) -> PolicyHead:
    """The head for actions that do not nest."""
    match space:
        case spaces.Discrete():
            return CategoricalHead(size, space, gain)
        case spaces.MultiDiscrete():
            return MultiCategoricalHead(size, space, gain)
        case spaces.MultiBinary():
            return BernoulliHead(size, space, gain)
        case spaces.Box():
            return GaussianHead(size, space, gain, log_std, squash)
    raise TypeError(f"no policy for {space}")


def _as_row(space: spaces.Space) -> spaces.Space:
    """The space of the same actions as rows `[D]` of numbers, choices counted from 0."""
    match space:
        case spaces.Discrete():
            return spaces.MultiDiscrete([space.n])
        case spaces.MultiDiscrete():
            return spaces.MultiDiscrete(space.nvec.ravel())
        case spaces.MultiBinary():
            return spaces.MultiBinary(math.prod(space.shape))
    assert isinstance(space, spaces.Box)
    return spaces.Box(space.low.ravel(), space.high.ravel(), dtype=space.dtype.type)


def value_head(size: int) -> nn.Module:
    """Features to one value, orthogonal with gain 1; squeeze the last axis."""
    return orthogonal(nn.Linear(size, 1), 1.0)


def sample_categorical(logits: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
    """Integers `[B]` from logits `[B, K]`: sampled by the Gumbel-max trick, or the largest without a generator."""
    if generator is None:
        return logits.argmax(-1)
    # -log of an exponential variable is a Gumbel variable. In float64: one in seven million float32 draws is zero.
    return (logits - np.log(generator.standard_exponential(logits.shape))).argmax(-1)
