"""Multi-layer perceptron over flattened observations; discrete ones become one-hot vectors, nested ones one vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor, nn

from ..encoder import Encoder
from ..layers import Activation, mlp
from ..normalize import RunningNormalizer
from ..observations import torch_flatten
from ..vectors import VECTOR_SPACES, flat_size, leaf_spaces


@dataclass(frozen=True)
class MLPConfig:
    """Multi-layer perceptron."""

    hidden: tuple[Annotated[int, Gt(0)], ...] = (64, 64)
    """Width of each hidden layer."""
    activation: Activation = "tanh"
    """Non-linearity after each layer."""
    orthogonal_init: bool = True
    """Begin with orthogonal weights of gain sqrt(2); otherwise with PyTorch's own, which are smaller."""
    normalize: bool = False
    """Shift and scale observations by their running mean and standard deviation."""


class MLP(Encoder):
    """Flatten, normalise (optional), then linear layers."""

    Config = MLPConfig
    takes = "Box, Discrete, MultiDiscrete and MultiBinary observations, and Dict and Tuple of them"

    @classmethod
    def accepts(cls, space: spaces.Space) -> bool:
        """Whether it can be laid out as one vector."""
        return all(isinstance(leaf, VECTOR_SPACES) for leaf in leaf_spaces(space))

    def __init__(self, space: spaces.Space, config: MLPConfig):
        super().__init__()
        if not self.accepts(space):
            raise TypeError(f"encoder 'mlp' takes {self.takes}, got {space}")
        self.space = space
        inputs = sum(map(flat_size, leaf_spaces(space)))
        self.vector = torch_flatten(space)
        self.normalize: nn.Module = RunningNormalizer((inputs,)) if config.normalize else nn.Identity()
        self.layers = mlp((inputs, *config.hidden), config.activation, config.orthogonal_init)
        self.size = (inputs, *config.hidden)[-1]

    def forward(self, obs: Any) -> Tensor:
        """Features `[N, size]` of observations `[N, ...]`."""
        return self.layers(self.normalize(self.flatten(obs)))

    def flatten(self, obs: Any) -> Tensor:
        """Observations as float vectors `[N, inputs]`."""
        return self.vector(obs)

    @property
    def has_statistics(self) -> bool:
        """Whether it normalises."""
        return isinstance(self.normalize, RunningNormalizer)

    def update_statistics(self, obs: Any) -> None:
        """Let the normaliser see observations `[N, ...]`."""
        if isinstance(self.normalize, RunningNormalizer):
            self.normalize.update(self.flatten(obs))
