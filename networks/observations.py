"""What observations look like to a network: vectors, and pictures as planes `[N, C, H, W]`.

The only place where pictures are scaled; environments and storage keep them as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor, nn

ChannelAxis = Literal["auto", "first", "last"]
VECTOR_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


@dataclass(frozen=True)
class PictureConfig:
    """How pictures are read."""

    channel_axis: ChannelAxis = "auto"
    """Where the colours of one picture are; auto takes the shorter of its first and last axis."""
    scale: Annotated[float, Gt(0)] | None = None
    """Divide pictures by this; by default by the bound of their space (255 for bytes) where that is above 1."""


def is_picture(space: spaces.Space) -> bool:
    """Whether a space is one of pictures: `[H, W]` bytes; `[H, W, C]` or `[C, H, W]`, or a stack of such frames.

    With three or four axes bytes, booleans and bounded floats are taken for pictures.
    """
    if not isinstance(space, spaces.Box) or not 2 <= len(space.shape) <= 4:
        return False
    if len(space.shape) == 2:
        return space.dtype == np.uint8
    return space.dtype in (np.uint8, np.bool_) or (
        np.issubdtype(space.dtype, np.floating) and space.is_bounded()
    )


def bound(space: spaces.Box) -> float:
    """What pictures are divided by: the largest magnitude in the space if it is finite and above 1, otherwise 1."""
    largest = float(
        max(np.abs(space.low.astype(np.float64)).max(), np.abs(space.high.astype(np.float64)).max())
    )
    return largest if np.isfinite(largest) and largest > 1 else 1.0


class Planes(nn.Module):
    """Pictures `[N, ...]` to scaled float planes `[N, C, H, W]`; the frames of a stack lie behind each other in C."""

    def __init__(self, space: spaces.Space, config: PictureConfig, encoder: str):
        super().__init__()
        if not takes_planes(space):
            raise TypeError(
                f"encoder '{encoder}' takes pictures, which are Box observations with 2 to 4 axes, got {space}"
            )
        assert isinstance(space, spaces.Box) and space.shape is not None
        self.axes = len(space.shape)
        self.scale = 1 / (config.scale or bound(space))
        shape = space.shape[-3:]
        self.channels_last = self.axes > 2 and (
            shape[-1] <= shape[0] if config.channel_axis == "auto" else config.channel_axis == "last"
        )
        frames = space.shape[0] if self.axes == 4 else 1
        if self.axes == 2:
            shape = (1, *shape)
        colors, self.height, self.width = (shape[2], *shape[:2]) if self.channels_last else shape
        self.channels = frames * colors

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


def takes_planes(space: spaces.Space) -> bool:
    """Whether pictures can be read from a space, also where nobody would guess that they are some."""
    return isinstance(space, spaces.Box) and 2 <= len(space.shape) <= 4


def leaf_spaces(space: spaces.Space) -> list[spaces.Space]:
    """The spaces that a nested one is made of; any other is its own only leaf."""
    match space:
        case spaces.Dict():
            return [leaf for part in space.values() for leaf in leaf_spaces(part)]
        case spaces.Tuple():
            return [leaf for part in space for leaf in leaf_spaces(part)]
    return [space]


def leaf_observations(space: spaces.Space, obs: Any) -> list[Any]:
    """The arrays of a nested observation, in the order of `leaf_spaces` whatever the order of its keys."""
    match space:
        case spaces.Dict():
            return [leaf for key, part in space.items() for leaf in leaf_observations(part, obs[key])]
        case spaces.Tuple():
            pairs = zip(space, obs, strict=True)
            return [leaf for part, value in pairs for leaf in leaf_observations(part, value)]
    return [obs]


def flat_size(space: spaces.Space) -> int:
    """Length of an observation of an unnested space as a vector: one-hot for discrete ones."""
    return spaces.flatdim(space)


def flatten(space: spaces.Space, obs: Any) -> Tensor:
    """Observations `[N, ...]` of an unnested space as float vectors `[N, flat_size]`; pictures are scaled."""
    if isinstance(space, spaces.Discrete):
        return nn.functional.one_hot((obs - space.start).long(), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        start = torch.as_tensor(space.start, device=obs.device)
        columns = (obs - start).long().reshape(len(obs), -1).unbind(-1)
        sizes = space.nvec.flatten().tolist()
        parts = [nn.functional.one_hot(column, n) for column, n in zip(columns, sizes, strict=True)]
        return torch.cat(parts, -1).float()
    vector = obs.reshape(len(obs), -1).float()
    return vector / bound(space) if isinstance(space, spaces.Box) and is_picture(space) else vector


def numpy_flatten(space: spaces.Space) -> Callable[[Any], np.ndarray]:
    """Return `flatten` of a nested space as a NumPy function `[N, ...]` to `[N, sizes]`."""
    functions = [_numpy_flatten(leaf) for leaf in leaf_spaces(space)]
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return functions[0]

    def join(obs: Any) -> np.ndarray:
        leaves = zip(functions, leaf_observations(space, obs), strict=True)
        return np.concatenate([function(leaf) for function, leaf in leaves], -1)

    return join


def _numpy_flatten(space: spaces.Space) -> Callable[[np.ndarray], np.ndarray]:
    match space:
        case spaces.Discrete():
            rows, start = np.eye(int(space.n), dtype=np.float32), space.start
            return lambda obs: rows[obs - start]
        case spaces.MultiDiscrete():
            codes, starts = (
                [np.eye(int(n), dtype=np.float32) for n in space.nvec.ravel()],
                space.start.ravel(),
            )

            def encode(obs: np.ndarray) -> np.ndarray:
                columns = (obs.reshape(len(obs), -1) - starts).T
                return np.concatenate([code[column] for code, column in zip(codes, columns, strict=True)], -1)

            return encode
        case spaces.Box() if is_picture(space):
            scale = np.float32(bound(space))
            return lambda obs: obs.reshape(len(obs), -1).astype(np.float32) / scale
    return lambda obs: obs.reshape(len(obs), -1).astype(np.float32, copy=False)
