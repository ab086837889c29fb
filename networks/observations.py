"""What observations are to a network: vectors, and pictures as planes `[N, C, H, W]`; tensors.

The only place where pictures are scaled; environments and storage keep them as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor, nn

from .pictures import ChannelAxis, bound, picture_layout, scale_of, takes_planes
from .vectors import leaf_observations, leaf_spaces


@dataclass(frozen=True)
class PictureConfig:
    """How pictures are read."""

    channel_axis: ChannelAxis = "auto"
    """Where the colours of one picture are; auto takes the axis that differs from two equal ones, otherwise the
    shorter of its first and last axis."""
    scale: Annotated[float, Gt(0)] | None = None
    """Divide pictures by this; by default by the bound of their space (255 for bytes) where that is above 1."""


class Planes(nn.Module):
    """Pictures `[N, ...]` to scaled float planes `[N, C, H, W]`; the frames of a stack lie behind each other in C."""

    def __init__(self, space: spaces.Space, config: PictureConfig, encoder: str):
        super().__init__()
        if not takes_planes(space):
            raise TypeError(
                f"encoder '{encoder}' takes pictures, which are Box observations with 2 to 4 axes, got {space}"
            )
        assert isinstance(space, spaces.Box)
        self.axes = len(space.shape)
        self.channel_axis = config.channel_axis
        self.scale = 1 / (config.scale or bound(space))
        layout = picture_layout(space.shape, config.channel_axis)
        self.channels_last = layout.channels_last
        self.channels, self.height, self.width = layout.planes

    def forward(self, obs: Tensor) -> Tensor:
        """Planes `[N, C, H, W]` float32."""
        if self.axes == 2:
            obs = obs.unsqueeze(1)
        elif self.channels_last:
            obs = obs.movedim(-1, -3)
        if self.axes == 4:
            obs = obs.flatten(1, 2)
        # Convolutions of channels-last planes take two thirds of the time (Nature CNN, 256 pictures 4x84x84, forward
        # and backward on one core: 261 ms and 165 ms).
        return obs.to(torch.float32, memory_format=torch.channels_last) * self.scale


def vector(space: spaces.Space, x: Tensor) -> Tensor:
    """Values `[N, ...]` of an unnested space as float vectors `[N, flat_size]`: choices one-hot, the rest as it is."""
    match space:
        case spaces.Discrete():
            return _one_hot(x.long(), int(space.start), int(space.n))
        case spaces.MultiDiscrete():
            # Unsigned ones of more than a byte can neither be compared nor subtracted (torch 2.13).
            columns = x.long().reshape(x.shape[0], -1).unbind(-1)
            starts, sizes = space.start.flatten().tolist(), space.nvec.flatten().tolist()
            return torch.cat([_one_hot(*choice) for choice in zip(columns, starts, sizes, strict=True)], -1)
    return x.reshape(x.shape[0], -1).float()


def _one_hot(x: Tensor, start: int, count: int) -> Tensor:
    """Choices `[N]` as rows `[N, count]` with a 1 each; torch's own function asks how large they are, which no graph
    can.
    """
    return (x.unsqueeze(-1) == torch.arange(start, start + count, device=x.device)).float()


def torch_flatten(space: spaces.Space) -> Callable[[Any], Tensor]:
    """Return a function from observations `[N, ...]`, nested or not, to vectors `[N, sizes]`; bytes are scaled."""
    leaves = leaf_spaces(space)
    # Computed once: reading bounds takes longer than everything else here, and cannot be compiled.
    scales = [scale_of(leaf) for leaf in leaves]

    def flatten(obs: Any) -> Tensor:
        parts = []
        for leaf, scale, array in zip(leaves, scales, leaf_observations(space, obs), strict=True):
            flat = vector(leaf, array)
            parts.append(flat if scale == 1 else flat / scale)
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    return flatten
