"""Encoders: the features of one step. The choices are in `encoders/`; here is what they share, and nested ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor, nn

from .layers import mlp
from .normalize import RunningNormalizer
from .observations import torch_flatten
from .pictures import is_picture
from .vectors import VECTOR_SPACES, flat_size, leaf_observations, leaf_spaces

# The rest is normalised by its running statistics and seen with one layer: its units are unknown, and beside the
# features of a picture a few raw numbers would be lost.
VECTOR_FEATURES = 64


class Encoder(nn.Module, ABC):
    """Features `[N, size]` of observations `[N, ...]`, each step for itself."""

    Config: ClassVar[type]
    size: int
    # Actor-critics learn one encoder for both networks where learning to see is most of the work (images).
    shared_by_default: bool = False
    takes: ClassVar[str] = "any observations"
    adds_own_loss: bool = True
    """Whether a loss that is computed from the features gets the encoder's own beside it, where there is one."""

    @classmethod
    def accepts(cls, space: spaces.Space) -> bool:
        """Whether observations of a space can be encoded; those that cannot are described by `takes`."""
        return True

    @classmethod
    def encodes_part(cls, space: spaces.Space) -> bool:
        """Whether this part of a nested observation is what the encoder is there for."""
        return is_picture(space)

    @abstractmethod
    def forward(self, obs: Any) -> Tensor:
        """Encode observations `[N, ...]` into features `[N, size]`."""

    def update_statistics(self, obs: Any) -> None:
        """Add a batch `[N, ...]` to running statistics; nothing to do for encoders without any."""

    @property
    def has_statistics(self) -> bool:
        """Whether `update_statistics` does anything; so it does, as a rule, where an encoder has one of its own."""
        return type(self).update_statistics is not Encoder.update_statistics


@contextmanager
def without_own_loss(encoder: Encoder) -> Iterator[None]:
    """Within `with`, what is computed from the features is all that an encoder learns from."""
    parts = [part for part in encoder.modules() if isinstance(part, Encoder)]
    for part in parts:
        part.adds_own_loss = False
    try:
        yield
    finally:
        for part in parts:
            del part.adds_own_loss


class NestedEncoder(Encoder):
    """Features of what an encoder encodes (one with the same settings for each part) and of the rest, side by side."""

    @staticmethod
    def fits(space: spaces.Space, encoder: type[Encoder]) -> bool:
        """Whether a nested space holds a part that `encoder` is there for and takes, and vectors besides at most."""
        if not isinstance(space, spaces.Dict | spaces.Tuple):
            return False
        leaves = [(leaf, encoder.encodes_part(leaf)) for leaf in leaf_spaces(space)]
        fitting = [encoder.accepts(leaf) if own else isinstance(leaf, VECTOR_SPACES) for leaf, own in leaves]
        return all(fitting) and any(own for _, own in leaves)

    def __init__(self, space: spaces.Space, encoder: type[Encoder], config: Any):
        super().__init__()
        self.space = space
        self.spaces = leaf_spaces(space)
        self.shared_by_default = encoder.shared_by_default
        self.encoded = [at for at, leaf in enumerate(self.spaces) if encoder.encodes_part(leaf)]
        self.others = [at for at in range(len(self.spaces)) if at not in self.encoded]
        self.encoders = nn.ModuleList(encoder(self.spaces[at], config) for at in self.encoded)  # type: ignore[call-arg]
        self.size = sum(part.size for part in self.encoders)  # type: ignore[misc]
        self.normalize = self.layers = None
        if self.others:
            width = sum(flat_size(self.spaces[at]) for at in self.others)
            self.flatten = [torch_flatten(self.spaces[at]) for at in self.others]
            self.normalize = RunningNormalizer((width,))
            self.layers = mlp((width, VECTOR_FEATURES), "tanh")
            self.size += VECTOR_FEATURES

    def forward(self, obs: Any) -> Tensor:
        """Features `[N, size]`."""
        leaves = leaf_observations(self.space, obs)
        parts = [encode(leaves[at]) for at, encode in zip(self.encoded, self.encoders, strict=True)]
        if self.normalize is not None and self.layers is not None:
            parts.append(self.layers(self.normalize(self._vector(leaves))))
        return torch.cat(parts, -1)

    def _vector(self, leaves: list[Any]) -> Tensor:
        return torch.cat([flat(leaves[at]) for flat, at in zip(self.flatten, self.others, strict=True)], -1)

    @property
    def has_statistics(self) -> bool:
        """Whether the vector is normalised, or an encoder has statistics."""
        return self.normalize is not None or any(encoder.has_statistics for encoder in self.encoders)

    def update_statistics(self, obs: Any) -> None:
        """Add a batch to the normaliser of the vector, and its parts to the encoders."""
        leaves = leaf_observations(self.space, obs)
        for at, encoder in zip(self.encoded, self.encoders, strict=True):
            encoder.update_statistics(leaves[at])  # type: ignore[operator]
        if self.normalize is not None:
            self.normalize.update(self._vector(leaves))
