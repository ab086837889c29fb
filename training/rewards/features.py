"""Networks over observations that are normalised by what has been seen; of pictures, convolutions."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from ...networks.encoders.cnn import nature_layers, small_layers
from ...networks.layers import mlp, orthogonal
from ...networks.normalize import RunningNormalizer
from ...networks.observations import PictureConfig, Planes, torch_flatten
from ...networks.pictures import is_picture, takes_nature
from ...networks.vectors import VECTOR_SPACES, flat_size, leaf_observations, leaf_spaces
from ..settings.resources import computed_bytes

# In running deviations, as in Burda et al. 2018 (arXiv:1810.12894), section 2.4.
CLIP = 5.0


class Inputs(nn.Module):
    """Observations `[N, ...]`, nested or not, as planes `[N, C, H, W]` of each picture and one vector `[N, size]`.

    All are shifted and scaled by running statistics of their own and clipped.
    """

    def __init__(self, space: spaces.Space):
        super().__init__()
        self.space = space
        leaves = leaf_spaces(space)
        for leaf in leaves:
            if not isinstance(leaf, VECTOR_SPACES):
                raise TypeError(f"learned rewards take no observations of {' '.join(str(leaf).split())}")
        self.pictures = [at for at, leaf in enumerate(leaves) if is_picture(leaf)]
        self.others = [at for at in range(len(leaves)) if at not in self.pictures]
        planes = [Planes(leaves[at], PictureConfig(), "cnn") for at in self.pictures]
        self.planes = nn.ModuleList(planes)
        self.shapes = [(each.channels, each.height, each.width) for each in planes]
        self.flatten = [torch_flatten(leaves[at]) for at in self.others]
        self.size = sum(flat_size(leaves[at]) for at in self.others)
        """Width of the vector; 0 where there are pictures only."""
        shapes: list[tuple[int, ...]] = [*self.shapes, *([(self.size,)] if self.size else [])]
        self.normalizers = nn.ModuleList(RunningNormalizer(shape, clip=CLIP) for shape in shapes)

    def forward(self, obs: Any) -> list[Tensor]:
        """Normalised planes, and the vector last."""
        return [normalize(x) for normalize, x in zip(self.normalizers, self._raw(obs), strict=True)]

    def update(self, obs: Any) -> None:
        """Add observations to the statistics."""
        for normalize, x in zip(self.normalizers, self._raw(obs), strict=True):
            normalize.update(x)  # type: ignore[operator]

    def _raw(self, obs: Any) -> list[Tensor]:
        leaves = leaf_observations(self.space, obs)
        raw = [planes(leaves[at]) for planes, at in zip(self.planes, self.pictures, strict=True)]
        flat = [flatten(leaves[at]) for flatten, at in zip(self.flatten, self.others, strict=True)]
        return raw + ([torch.cat(flat, -1)] if self.size else [])


class Features(nn.Module):
    """Numbers `[N, size]` of what `Inputs` gives, and of a vector `[N, extra]` beside it: one hidden layer or more."""

    def __init__(self, inputs: Inputs, hidden: tuple[int, ...], size: int, extra: int = 0, gain: float = 1.0):
        super().__init__()
        self.convolutions = nn.ModuleList(
            (nature_layers if takes_nature(height, width) else small_layers)(channels)
            for channels, height, width in inputs.shapes
        )
        self.shapes, self.width = inputs.shapes, inputs.size + extra
        """Of planes, and of the vectors beside them."""
        width = self.width
        with torch.no_grad():
            for layers, shape in zip(self.convolutions, inputs.shapes, strict=True):
                width += layers(torch.zeros(1, *shape)).numel()
        self.hidden = mlp((width, *hidden), "relu")
        self.output = orthogonal(nn.Linear((width, *hidden)[-1], size), gain)

    def forward(self, inputs: list[Tensor], extra: Tensor | None = None) -> Tensor:
        """Numbers `[N, size]`."""
        pictures = len(self.convolutions)
        parts = [layers(x).flatten(1) for layers, x in zip(self.convolutions, inputs[:pictures], strict=True)]
        parts += inputs[pictures:] + ([] if extra is None else [extra])
        return self.output(self.hidden(torch.cat(parts, -1)))

    @torch.no_grad()
    def row_bytes(self) -> int:
        """Bytes that its layers compute for one observation."""
        device = next(self.parameters()).device
        planes = [torch.zeros(1, *shape, device=device) for shape in self.shapes]
        return computed_bytes(self, lambda: self(planes, torch.zeros(1, self.width, device=device)))
