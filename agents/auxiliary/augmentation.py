"""Changes of observations that leave what they show the same: random shifts of pictures, noise on vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.pictures import ChannelAxis, is_picture, picture_layout
from ...networks.vectors import from_leaves, leaf_observations, leaf_spaces

# Of 84 pixels, the 4 of DrQ (Yarats et al. 2021, arXiv:2004.13649).
SHIFT_SHARE = 0.05


class Augmentation:
    """Changes observations of a space at random; each part of a nested one by itself.

    Pictures, read as the encoder does (`channel_axis`), are moved by up to `shift` pixels each way, and their borders
    are repeated. Of everything else a share `masking` of the numbers is replaced by those of another row (the values
    are then still possible ones, whatever their unit: Bahri et al. 2022, arXiv:2106.15147), and floats get normal
    `noise`, in units of their deviation.
    """

    def __init__(
        self,
        space: spaces.Space,
        shift: int | None,
        noise: float,
        masking: float,
        channel_axis: ChannelAxis = "auto",
    ):
        self.space = space
        self.leaves = leaf_spaces(space)
        self.shift, self.noise, self.masking, self.channel_axis = shift, noise, masking, channel_axis

    def __call__(self, obs: Any, generator: np.random.Generator) -> Any:
        """Changed copies of observations `[N, ...]`."""
        arrays = zip(self.leaves, leaf_observations(self.space, obs), strict=True)
        changed = [
            self._shifted(space, x, generator) if is_picture(space) else self._noisy(x, generator)
            for space, x in arrays
        ]
        return from_leaves(self.space, changed)

    def _shifted(self, space: spaces.Space, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        shape = x.shape[1:]
        layout = picture_layout(shape, self.channel_axis)
        shift = self.shift
        if shift is None:
            shift = round(SHIFT_SHARE * min(layout.height, layout.width))
        rows, columns = (1, 2) if len(shape) == 2 else (-3, -2) if layout.channels_last else (-2, -1)
        width = [(0, 0)] * x.ndim
        width[rows] = width[columns] = (shift, shift)
        padded, changed = np.pad(x, width, mode="edge"), np.empty_like(x)
        offsets = generator.integers(0, 2 * shift + 1, (len(x), 2))
        index: list[Any] = [slice(None)] * x.ndim
        for row, (down, right) in enumerate(offsets.tolist()):
            index[0] = row
            index[rows] = slice(down, down + x.shape[rows])
            index[columns] = slice(right, right + x.shape[columns])
            changed[row] = padded[tuple(index)]
        return changed

    def _noisy(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        others = x[generator.permutation(len(x))]
        changed = np.where(generator.random(x.shape) < self.masking, others, x)
        if x.dtype.kind == "f" and self.noise > 0:
            deviation = x.std(0, dtype=np.float64).astype(x.dtype)
            changed += generator.standard_normal(x.shape, dtype=np.float32) * (self.noise * deviation)
        return changed
