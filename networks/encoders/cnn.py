"""Convolutional network of the Nature paper on DQN (Mnih et al. 2015), and a smaller one for small pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor, nn

from ..encoder import Encoder
from ..layers import orthogonal
from ..observations import PictureConfig, Planes
from ..pictures import NATURE_FROM, takes_nature, takes_planes


@dataclass(frozen=True)
class CNNConfig(PictureConfig):
    """Convolutional network."""

    layers: Literal["auto", "nature", "small"] = "auto"
    """nature is that of Mnih et al. 2015, small is for pictures below 36x36; auto goes by the size."""
    hidden: Annotated[int, Gt(0)] | None = None
    """Features; by default 512 for nature and 128 for small."""


class CNN(Encoder):
    """Convolutions, then one linear layer, rectified; orthogonal weights with gain sqrt(2)."""

    Config = CNNConfig
    shared_by_default = True
    takes = "pictures: Box observations with 2 to 4 axes, and Dict and Tuple with such among them"

    @classmethod
    def accepts(cls, space: spaces.Space) -> bool:
        """Whether it is a Box of pictures."""
        return takes_planes(space)

    def __init__(self, space: spaces.Space, config: CNNConfig):
        super().__init__()
        self.planes = Planes(space, config, "cnn")
        large = takes_nature(self.planes.height, self.planes.width)
        if config.layers == "nature" and not large:
            raise ValueError(
                f"encoder.layers: nature needs pictures of {NATURE_FROM}x{NATURE_FROM} or more, got "
                f"{self.planes.height}x{self.planes.width}; use small"
            )
        nature = large if config.layers == "auto" else config.layers == "nature"
        self.convolutions = (nature_layers if nature else small_layers)(self.planes.channels)
        self.size = config.hidden or (512 if nature else 128)
        with torch.no_grad():
            shape = self.planes.channels, self.planes.height, self.planes.width
            inputs = self.convolutions(torch.zeros(1, *shape)).numel()
        self.linear = orthogonal(nn.Linear(inputs, self.size), 2**0.5)

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[N, size]` of pictures `[N, ...]`."""
        return self.linear(self.convolutions(self.planes(obs)).flatten(1)).relu()


def nature_layers(channels: int) -> nn.Sequential:
    """Three convolutions: 84x84 becomes 7x7 with 64 channels."""
    return nn.Sequential(
        *_convolution(channels, 32, 8, stride=4),
        *_convolution(32, 64, 4, stride=2),
        *_convolution(64, 64, 3, stride=1),
    )


def small_layers(channels: int) -> nn.Sequential:
    """Two convolutions that keep the border: 10x10 becomes 5x5 with 32 channels.

    The first is that of the networks for MinAtar (Young & Tian 2019, arXiv:1903.03176).
    """
    return nn.Sequential(
        *_convolution(channels, 16, 3, stride=1, padding=1),
        *_convolution(16, 32, 3, stride=2, padding=1),
    )


def _convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int, padding: int = 0
) -> tuple[nn.Module, nn.Module]:
    return orthogonal(nn.Conv2d(inputs, outputs, kernel, stride, padding), 2**0.5), nn.ReLU()
