"""What a picture is, where its channels are, and which bounds count: the one rule for all folders, without torch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from gymnasium import spaces

ChannelAxis = Literal["auto", "first", "last"]
# Larger bounds say "any number" (many environments write the largest float): nothing can be scaled by them.
LARGEST_BOUND = 1e6
BYTES = (np.uint8, np.int8)
# Below, nothing is left of a picture behind the three layers of the Nature paper.
NATURE_FROM = 36


class PictureLayout(NamedTuple):
    """Axes of pictures: `[H, W]`, `[H, W, C]` or `[C, H, W]`, or a stack `[K, ...]` of such frames."""

    frames: int
    """Frames K of a stack; 1 without one."""
    channels: int
    """Channels C of one frame."""
    height: int
    width: int
    channels_last: bool
    """Whether the channels are the last axis; without an axis of them False."""

    @property
    def planes(self) -> tuple[int, int, int]:
        """Shape `[K * C, H, W]` with the frames of a stack behind each other."""
        return self.frames * self.channels, self.height, self.width


def takes_nature(height: int, width: int) -> bool:
    """Whether the network of the Nature paper fits a picture; smaller ones have smaller networks."""
    return min(height, width) >= NATURE_FROM


def picture_layout(shape: tuple[int, ...], channel_axis: ChannelAxis = "auto") -> PictureLayout:
    """Read the axes of a shape of two to four; with four the first counts frames.

    The channels are the odd axis out: of (8, 8, 12) the last, of (12, 8, 8) the first. Where neither the first two nor
    the last two axes are alike, or all three are, they are the shorter of the first and the last, and the last of two
    alike.
    """
    if len(shape) == 2:
        return PictureLayout(1, 1, *shape, channels_last=False)
    frames = shape[0] if len(shape) == 4 else 1
    first, middle, last = shape[-3:]
    if channel_axis != "auto":
        channels_last = channel_axis == "last"
    elif (first == middle) != (middle == last):
        channels_last = first == middle
    else:
        channels_last = last <= first
    if channels_last:
        return PictureLayout(frames, last, first, middle, channels_last)
    return PictureLayout(frames, first, middle, last, channels_last)


def takes_planes(space: spaces.Space) -> bool:
    """Whether pictures can be read from a space, also where nobody would guess that they are some."""
    return isinstance(space, spaces.Box) and 2 <= len(space.shape) <= 4


def is_picture(space: spaces.Space) -> bool:
    """Whether a space is one of pictures: `[H, W]` bytes; `[H, W, C]` or `[C, H, W]`, or a stack of such frames.

    With three or four axes bytes, booleans and bounded floats are taken for pictures.
    """
    if not isinstance(space, spaces.Box) or not 2 <= len(space.shape) <= 4:
        return False
    if len(space.shape) == 2:
        return space.dtype in BYTES
    return space.dtype in (*BYTES, np.bool_) or (
        np.issubdtype(space.dtype, np.floating) and is_bounded(space)
    )


def bounded(space: spaces.Box) -> np.ndarray:
    """Booleans `[*shape]`: where both bounds are numbers to go by, no infinity and not beyond `LARGEST_BOUND`."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return (np.abs(low) <= LARGEST_BOUND) & (np.abs(high) <= LARGEST_BOUND)


def is_bounded(space: spaces.Box) -> bool:
    """Whether all bounds of a space are numbers to go by."""
    return bool(bounded(space).all())


def bound(space: spaces.Box) -> float:
    """Divisor of pictures and bytes: the largest magnitude in a bounded space if it is above 1, otherwise 1."""
    if space.low.size == 0 or not is_bounded(space):
        return 1.0
    return float(
        max(1.0, np.abs(space.low.astype(np.float64)).max(), np.abs(space.high.astype(np.float64)).max())
    )


def scale_of(space: spaces.Space) -> float:
    """Divisor of an observation as a vector: the bound of pictures and of bytes of any shape, 1 for all others."""
    if isinstance(space, spaces.Box) and (is_picture(space) or space.dtype == np.uint8):
        return bound(space)
    return 1.0
