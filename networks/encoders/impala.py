"""Residual network of IMPALA (Espeholt et al. 2018, arXiv:1802.01561, figure 3, right)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from annotated_types import Gt, MinLen
from gymnasium import spaces
from torch import Tensor, nn

from ..encoder import Encoder
from ..layers import orthogonal
from ..observations import PictureConfig, Planes
from ..pictures import takes_planes


@dataclass(frozen=True)
class ImpalaConfig(PictureConfig):
    """Residual network."""

    channels: Annotated[tuple[Annotated[int, Gt(0)], ...], MinLen(1)] = (16, 32, 32)
    """Channels of each section; every section halves the picture."""
    hidden: Annotated[int, Gt(0)] = 256
    """Features."""


class Impala(Encoder):
    """Sections of a convolution, a pooling and two residual blocks, then one linear layer; any size of picture."""

    Config = ImpalaConfig
    shared_by_default = True
    takes = "pictures: Box observations with 2 to 4 axes, and Dict and Tuple with such among them"

    @classmethod
    def accepts(cls, space: spaces.Space) -> bool:
        """Whether it is a Box of pictures."""
        return takes_planes(space)

    def __init__(self, space: spaces.Space, config: ImpalaConfig):
        super().__init__()
        self.planes = Planes(space, config, "impala")
        channels = (self.planes.channels, *config.channels)
        self.sections = nn.Sequential(*(_section(*pair) for pair in pairwise(channels)))
        height, width = self.planes.height, self.planes.width
        for _ in config.channels:  # a pooling of stride 2 with a border rounds up
            height, width = (height + 1) // 2, (width + 1) // 2
        self.linear = orthogonal(nn.Linear(height * width * channels[-1], config.hidden), 2**0.5)
        self.size = config.hidden

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[N, size]` of pictures `[N, ...]`."""
        return self.linear(self.sections(self.planes(obs)).relu().flatten(1)).relu()


class Residual(nn.Module):
    """`x + convolution(relu(convolution(relu(x))))`."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = orthogonal(nn.Conv2d(channels, channels, 3, padding=1), 2**0.5)
        # What it adds is small at the beginning, so that the sum keeps its scale through all blocks.
        self.second = orthogonal(nn.Conv2d(channels, channels, 3, padding=1), 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Planes of the same shape."""
        return x + self.second(self.first(x.relu()).relu())


def _section(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        orthogonal(nn.Conv2d(inputs, outputs, 3, padding=1), 1.0),
        nn.MaxPool2d(3, stride=2, padding=1),
        Residual(outputs),
        Residual(outputs),
    )
