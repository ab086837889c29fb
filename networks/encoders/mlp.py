"""Multi-layer perceptron over flattened observations; discrete observations become one-hot vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor, nn

from ..layers import Activation, mlp, numpy_layers
from ..normalize import RunningNormalizer
from ..torso import Encoder


@dataclass(frozen=True)
class MLPConfig:
    """Multi-layer perceptron."""

    hidden: tuple[Annotated[int, Gt(0)], ...] = (64, 64)
    """Width of each hidden layer."""
    activation: Activation = "tanh"
    """Non-linearity after each layer."""
    normalize: bool = False
    """Shift and scale observations by their running mean and standard deviation."""


class MLP(Encoder):
    """Flatten, normalise (optional), then linear layers."""

    Config = MLPConfig

    def __init__(self, space: spaces.Space, config: MLPConfig):
        super().__init__()
        self.space = space
        inputs = flat_size(space)
        self.normalize: nn.Module = RunningNormalizer((inputs,)) if config.normalize else nn.Identity()
        self.layers = mlp((inputs, *config.hidden), config.activation)
        self.size = (inputs, *config.hidden)[-1]

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[N, size]` of observations `[N, ...]`."""
        return self.layers(self.normalize(self.flatten(obs)))

    def flatten(self, obs: Tensor) -> Tensor:
        """Observations as float vectors `[N, inputs]`."""
        if isinstance(self.space, spaces.Discrete):
            return nn.functional.one_hot((obs - self.space.start).long(), int(self.space.n)).float()
        if isinstance(self.space, spaces.MultiDiscrete):
            parts = (
                (obs - torch.as_tensor(self.space.start, device=obs.device))
                .long()
                .reshape(len(obs), -1)
                .unbind(-1)
            )
            sizes = self.space.nvec.flatten().tolist()
            return torch.cat(
                [nn.functional.one_hot(p, n) for p, n in zip(parts, sizes, strict=True)], -1
            ).float()
        return obs.reshape(len(obs), -1).float()

    def update_statistics(self, obs: Tensor) -> None:
        """Let the normaliser see observations `[N, ...]`."""
        if isinstance(self.normalize, RunningNormalizer):
            self.normalize.update(self.flatten(obs))

    def as_numpy(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return this encoder as a NumPy function, for Box observations."""
        layers = numpy_layers(self.layers)
        if layers is None or not isinstance(self.space, spaces.Box):
            return None
        if not isinstance(self.normalize, RunningNormalizer):
            return lambda obs: layers(obs.reshape(len(obs), -1).astype(np.float32, copy=False))
        shift, scale, clip = self.normalize.shift.numpy(), self.normalize.scale.numpy(), self.normalize.clip

        def encode(obs: np.ndarray) -> np.ndarray:
            flat = obs.reshape(len(obs), -1).astype(np.float32, copy=False)
            return layers(np.clip((flat - shift) * scale, -clip, clip))

        return encode


def flat_size(space: spaces.Space) -> int:
    """Length of an observation as a vector: one-hot for discrete spaces."""
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return spaces.flatdim(space)
    raise TypeError(
        f"encoder 'mlp' takes Box, Discrete, MultiDiscrete and MultiBinary observations, got {space}"
    )
