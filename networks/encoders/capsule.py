"""Capsules (Sabour, Frosst & Hinton 2017, arXiv:1710.09829): vectors whose length says how likely something is there.

Small and honest: a few convolutions make primary capsules, dynamic routing gathers them into object capsules, one
linear layer reads those. It has far fewer parameters than the Nature CNN and learns from somewhat more steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor, nn

from ..encoder import Encoder
from ..layers import orthogonal
from ..observations import PictureConfig, Planes
from ..pictures import takes_planes


@dataclass(frozen=True)
class CapsuleConfig(PictureConfig):
    """Capsules."""

    types: Annotated[int, Gt(0)] = 8
    """Kinds of primary capsules; there is one of each at every place."""
    dimensions: Annotated[int, Gt(0)] = 8
    """Length of a primary capsule's vector."""
    objects: Annotated[int, Gt(0)] = 8
    """Object capsules."""
    object_dimensions: Annotated[int, Gt(0)] = 16
    """Length of an object capsule's vector."""
    iterations: Annotated[int, Gt(0)] = 3
    """Rounds of routing."""
    hidden: Annotated[int, Gt(0)] = 128
    """Features."""


class Capsule(Encoder):
    """Convolutions, primary capsules, routing; then a linear layer on the objects' vectors and lengths, rectified.

    All places share one matrix for each kind of primary and each object. So that it still matters where something
    is, every primary capsule carries its place, weighted by its length: `(u, |u| row, |u| column)`, with row and column
    from -1 to 1 (after the coordinate addition of Hinton, Sabour & Frosst 2018, "Matrix capsules with EM routing").
    """

    Config = CapsuleConfig
    shared_by_default = True
    takes = "pictures: Box observations with 2 to 4 axes, and Dict and Tuple with such among them"

    places: Tensor

    @classmethod
    def accepts(cls, space: spaces.Space) -> bool:
        """Whether it is a Box of pictures."""
        return takes_planes(space)

    def __init__(self, space: spaces.Space, config: CapsuleConfig):
        super().__init__()
        self.config = config
        self.planes = Planes(space, config, "capsule")
        primary = config.types * config.dimensions
        channels, height, width = self.planes.channels, self.planes.height, self.planes.width
        large = min(height, width) >= 36
        self.convolutions = nn.Sequential(
            orthogonal(nn.Conv2d(channels, 16, *((8, 4) if large else (3, 1, 1))), 2**0.5),
            nn.ReLU(),
            orthogonal(nn.Conv2d(16, 32, *((4, 2) if large else (3, 2, 1))), 2**0.5),
            nn.ReLU(),
            orthogonal(nn.Conv2d(32, primary, 3, 2, 1), 1.0),
        )
        with torch.no_grad():
            rows, columns = self.convolutions(torch.zeros(1, channels, height, width)).shape[2:]
        grid = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
        self.register_buffer("places", torch.stack(grid, -1).reshape(rows * columns, 2))
        # [objects, types, length of a primary capsule and its place, length of an object]
        shape = (config.objects, config.types, config.dimensions + 2, config.object_dimensions)
        self.matrices = nn.Parameter(torch.empty(shape))
        for matrix in self.matrices.data.flatten(0, 1):
            # The gain takes back the softmax of the first round, which starts at 1 / objects: squash makes short
            # vectors shorter still, and their gradients vanish.
            nn.init.orthogonal_(matrix, config.objects**0.5)
        inputs = config.objects * (config.object_dimensions + 1)
        self.linear = orthogonal(nn.Linear(inputs, config.hidden), 2**0.5)
        self.size = config.hidden

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[N, size]` of pictures `[N, ...]`."""
        config = self.config
        planes = self.convolutions(self.planes(obs)).flatten(2)
        primary = planes.unflatten(1, (config.types, config.dimensions)).transpose(-1, -2)
        with torch.autocast(planes.device.type, enabled=False):  # lengths near 0 and 1 need all digits
            primary = squash(primary.float())  # [N, types, places, dimensions]
            located = torch.cat([primary, length(primary) * self.places], -1)
            weights = routing_weights(located.detach(), self.matrices.detach(), config.iterations)
            objects = squash(gather(located, weights, self.matrices))
            # Numbers of a unit vector are small, and a policy on them would stay undecided for long.
            features = torch.cat([objects * config.object_dimensions**0.5, length(objects)], -1)
            return self.linear(features.flatten(1)).relu()


def length(x: Tensor) -> Tensor:
    """Length `[..., 1]` of vectors `[..., D]`, differentiable at zero."""
    return (x.square().sum(-1, keepdim=True) + 1e-8).sqrt()


def squash(x: Tensor) -> Tensor:
    """`|x|^2 / (1 + |x|^2) x / |x|` (equation 1): the direction stays, the length goes to between 0 and 1."""
    square = x.square().sum(-1, keepdim=True)
    return x * square / ((1 + square) * (square + 1e-8).sqrt())


def gather(primary: Tensor, weights: Tensor, matrices: Tensor) -> Tensor:
    """Sums `[N, J, D]` of the votes of all primary capsules `[N, T, P, K]`, weighted by `[N, T, P, J]`.

    A vote is `matrices[j, t] @ primary[t, p]`. All places share a matrix, so it comes after the sum over places: the
    votes `[N, T, P, J, D]` themselves are never needed.
    """
    sums = torch.einsum("ntpj,ntpk->ntjk", weights, primary)
    return torch.einsum("ntjk,jtkd->njd", sums, matrices)


def routing_weights(primary: Tensor, matrices: Tensor, iterations: int) -> Tensor:
    """How each primary capsule spreads itself over the objects, `[N, T, P, J]`, summing to 1: procedure 1.

    Dynamic routing: more goes to the objects with which its votes agree (scalar product), in rounds. Given fixed
    capsules and matrices, so that gradients flow through the votes in the last round only, not through the choice.
    """
    agreement = primary.new_zeros(*primary.shape[:3], len(matrices))
    for _ in range(iterations - 1):
        objects = squash(gather(primary, agreement.softmax(-1), matrices))
        wanted = torch.einsum("njd,jtkd->ntjk", objects, matrices)
        agreement = agreement + torch.einsum("ntpk,ntjk->ntpj", primary, wanted)
    return agreement.softmax(-1)
