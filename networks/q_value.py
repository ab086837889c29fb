"""Continuous actions in [-1, 1]: critics that value them, an actor that chooses them, and their bounds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from .action_spaces import BOUNDED
from .layers import ACTIVATIONS, Activation, Tanh
from .torso import Torso


class ActionValues(nn.Module):
    """`count` critics of the same shape, each a perceptron over features and action side by side.

    Their weights lie in stacks `[count, inputs, outputs]`, so that one batched product serves them all. They
    start uniform in `+-1 / sqrt(inputs)`, as in the DDPG paper (section 7), which is also torch's default.
    """

    def __init__(
        self, size: int, action_size: int, hidden: tuple[int, ...], activation: Activation, count: int = 1
    ):
        super().__init__()
        sizes = (size + action_size, *hidden, 1)
        layers = list(pairwise(sizes))
        self.weights = nn.ParameterList(_uniform((count, *layer), layer[0]) for layer in layers)
        self.biases = nn.ParameterList(_uniform((count, 1, outputs), inputs) for inputs, outputs in layers)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Values `[count, N]` of actions `[N, D]` where the features are `[N, F]`."""
        return self._values(features, action, self.weights, self.biases)

    def first(self, features: Tensor, action: Tensor) -> Tensor:
        """Values `[N]` by the first critic, its parameters held fixed: only the arguments get gradients."""
        weights = [weight[:1].detach() for weight in self.weights]
        biases = [bias[:1].detach() for bias in self.biases]
        return self._values(features, action, weights, biases)[0]

    def _values(
        self, features: Tensor, action: Tensor, weights: Iterable[Tensor], biases: Iterable[Tensor]
    ) -> Tensor:
        x = torch.cat([features, action], -1)
        for depth, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            if depth > 0:
                x = self.activation(x)
            # One critic is a plain product, which is faster than a batch of one.
            if len(weight) == 1:
                x = torch.addmm(bias[0], x.reshape(-1, x.shape[-1]), weight[0])
            else:
                x = torch.baddbmm(bias, x.expand(len(weight), *x.shape[-2:]), weight)
        return x.reshape(-1, len(features))


def deterministic_actor(
    size: int, action_size: int, hidden: tuple[int, ...], activation: Activation
) -> nn.Sequential:
    """Features `[N, size]` to one action `[N, D]` inside (-1, 1); initialised like the critics."""
    sizes = (size, *hidden, action_size)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1], Tanh())


class Actor(nn.Module):
    """Observations `[N, ...]` to actions `[N, D]` in [-1, 1]."""

    def __init__(self, torso: Torso, action_size: int, hidden: tuple[int, ...], activation: Activation):
        super().__init__()
        self.torso = torso
        self.head = deterministic_actor(torso.size, action_size, hidden, activation)

    def forward(self, obs: Any) -> Tensor:
        """Choose actions."""
        return self.head(self.torso.single_step(obs))


class Critic(nn.Module):
    """Observations `[N, ...]` and actions `[N, D]` in [-1, 1] to their values."""

    def __init__(
        self,
        torso: Torso,
        action_size: int,
        hidden: tuple[int, ...],
        activation: Activation,
        count: int = 1,
    ):
        super().__init__()
        self.torso = torso
        self.head = ActionValues(torso.size, action_size, hidden, activation, count)

    def forward(self, obs: Any, action: Tensor) -> Tensor:
        """Values `[count, N]` by each critic."""
        return self.head(self.torso.single_step(obs), action)


class ActionBounds:
    """Between an environment's actions `[B, *shape]` and the networks' `[B, D]`, all of them in [-1, 1]."""

    def __init__(self, space: spaces.Space):
        if not (isinstance(space, spaces.Box) and BOUNDED.include(space)):
            raise TypeError(f"no deterministic policy for {space}, only for {BOUNDED.name}")
        self.shape, self.dtype = space.shape, space.dtype
        low, high = space.low.astype(np.float64).ravel(), space.high.astype(np.float64).ravel()
        self.size = len(low)
        self.center = low + (high - low) / 2
        # A dimension with one possible value has nothing to divide by.
        self.half_range = np.where(high > low, (high - low) / 2, 1.0)

    def scale(self, action: np.ndarray) -> np.ndarray:
        """Actions in units of the bounds, float32."""
        flat = action.reshape(len(action), -1)
        return np.clip((flat - self.center) / self.half_range, -1, 1).astype(np.float32)

    def unscale(self, action: np.ndarray) -> np.ndarray:
        """Actions in the environment's units."""
        return (self.center + action * self.half_range).astype(self.dtype).reshape(-1, *self.shape)


def _uniform(shape: tuple[int, ...], inputs: int) -> nn.Parameter:
    return nn.Parameter((torch.rand(shape) * 2 - 1) / inputs**0.5)
