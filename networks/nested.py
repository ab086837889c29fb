"""Dict and Tuple observations that hold pictures, say: each has an encoder of its own, all the rest is one vector."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from .layers import mlp
from .normalize import RunningNormalizer
from .observations import VECTOR_SPACES, flat_size, flatten, leaf_observations, leaf_spaces
from .torso import Encoder

# The rest is normalised by its running statistics and seen with one layer: its units are unknown, and beside the
# features of a picture a few raw numbers would be lost.
VECTOR_FEATURES = 64


class NestedEncoder(Encoder):
    """Features of what an encoder sees (one with the same settings for each part) and of the rest, side by side."""

    @staticmethod
    def fits(space: spaces.Space, encoder: type[Encoder]) -> bool:
        """Whether a nested space holds something that `encoder` sees and takes, and vectors besides at most."""
        if not isinstance(space, spaces.Dict | spaces.Tuple):
            return False
        leaves = [(leaf, encoder.sees(leaf)) for leaf in leaf_spaces(space)]
        fitting = [
            encoder.accepts(leaf) if seen else isinstance(leaf, VECTOR_SPACES) for leaf, seen in leaves
        ]
        return all(fitting) and any(seen for _, seen in leaves)

    def __init__(self, space: spaces.Space, encoder: type[Encoder], config: Any):
        super().__init__()
        self.space = space
        self.spaces = leaf_spaces(space)
        self.shared_by_default = encoder.shared_by_default
        self.seen = [at for at, leaf in enumerate(self.spaces) if encoder.sees(leaf)]
        self.others = [at for at in range(len(self.spaces)) if at not in self.seen]
        self.encoders = nn.ModuleList(encoder(self.spaces[at], config) for at in self.seen)  # type: ignore[call-arg]
        self.size = sum(part.size for part in self.encoders)  # type: ignore[misc]
        self.normalize = self.layers = None
        if self.others:
            width = sum(flat_size(self.spaces[at]) for at in self.others)
            self.normalize = RunningNormalizer((width,))
            self.layers = mlp((width, VECTOR_FEATURES), "tanh")
            self.size += VECTOR_FEATURES

    def forward(self, obs: Any) -> Tensor:
        """Features `[N, size]`."""
        leaves = leaf_observations(self.space, obs)
        parts = [encode(leaves[at]) for at, encode in zip(self.seen, self.encoders, strict=True)]
        if self.normalize is not None and self.layers is not None:
            parts.append(self.layers(self.normalize(self._vector(leaves))))
        return torch.cat(parts, -1)

    def _vector(self, leaves: list[Any]) -> Tensor:
        return torch.cat([flatten(self.spaces[at], leaves[at]) for at in self.others], -1)

    @property
    def has_statistics(self) -> bool:
        """Whether the vector is normalised, or an encoder has statistics."""
        return self.normalize is not None or any(encoder.has_statistics for encoder in self.encoders)

    def update_statistics(self, obs: Any) -> None:
        """Let the normaliser of the vector see a batch, and the encoders their parts."""
        leaves = leaf_observations(self.space, obs)
        for at, encoder in zip(self.seen, self.encoders, strict=True):
            encoder.update_statistics(leaves[at])  # type: ignore[operator]
        if self.normalize is not None:
            self.normalize.update(self._vector(leaves))
