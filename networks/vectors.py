"""Values of spaces as vectors, in NumPy: one-hot for choices, everything else as it is.

A leaf of the house that every folder imports; worker processes too, so it imports no torch. The same for tensors is in
`observations.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from .pictures import scale_of

VECTOR_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
# A layer of 64 units then has 6.4 million parameters for them, and 1000 observations take 400 MB.
LARGEST_ONE_HOT = 100_000


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


def from_leaves(space: spaces.Space, leaves: list[Any]) -> Any:
    """The nested value of a space whose arrays are `leaves`, in the order of `leaf_spaces`."""
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return leaves[0]
    remaining = iter(leaves)

    def build(part: spaces.Space) -> Any:
        match part:
            case spaces.Dict():
                return {key: build(inner) for key, inner in part.items()}
            case spaces.Tuple():
                return tuple(build(inner) for inner in part)
        return next(remaining)

    return build(space)


def flat_size(space: spaces.Space) -> int:
    """Length of a value of an unnested space as a vector: one-hot for discrete ones.

    Raises:
        ValueError: it has more choices than `LARGEST_ONE_HOT`.
    """
    size = spaces.flatdim(space)
    if size > LARGEST_ONE_HOT and isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        name = " ".join(str(space).split())
        raise ValueError(
            f"{name[:60]} has {size:,} choices, of which at most {LARGEST_ONE_HOT:,} can be a one-hot vector; "
            "a Box observation gives them as numbers"
        )
    return size


def numpy_vector(space: spaces.Space) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from values `[N, ...]` of an unnested space to float32 vectors `[N, flat_size]`.

    Memory is linear in the number of choices.

    Raises:
        TypeError: the space nests, or is one of text, say.
    """
    match space:
        case spaces.Discrete():
            return _one_hot(np.array([space.n], np.int64), np.array([space.start], np.int64))
        case spaces.MultiDiscrete():
            return _one_hot(space.nvec.ravel().astype(np.int64), space.start.ravel().astype(np.int64))
        case spaces.Box() | spaces.MultiBinary():
            return lambda x: x.reshape(len(x), -1).astype(np.float32, copy=False)
    raise TypeError(f"no vector for {' '.join(str(space).split())}")


def _one_hot(sizes: np.ndarray, starts: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    total = int(sizes.sum())
    # Where each dimension's choices begin in the vector.
    begins = np.cumsum(np.concatenate([[0], sizes[:-1]]))
    # Negative numbers are huge unsigned ones, so that one comparison finds both kinds of wrong choices.
    limits = sizes.astype(np.uint64)

    def encode(x: np.ndarray) -> np.ndarray:
        choices = x.reshape(len(x), -1).astype(np.int64, copy=False) - starts
        if (choices.view(np.uint64) >= limits).any():
            raise ValueError(f"choices {x} are not among {sizes} from {starts} on")
        vectors = np.zeros((len(x), total), np.float32)
        vectors[np.arange(len(x))[:, None], choices + begins] = 1
        return vectors

    return encode


def numpy_flatten(space: spaces.Space) -> Callable[[Any], np.ndarray]:
    """Return a function from observations `[N, ...]`, nested or not, to vectors `[N, sizes]`; bytes are scaled."""
    functions = [_scaled(leaf) for leaf in leaf_spaces(space)]
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return functions[0]

    def join(obs: Any) -> np.ndarray:
        leaves = zip(functions, leaf_observations(space, obs), strict=True)
        return np.concatenate([function(leaf) for function, leaf in leaves], -1)

    return join


def _scaled(space: spaces.Space) -> Callable[[np.ndarray], np.ndarray]:
    vector, scale = numpy_vector(space), np.float32(scale_of(space))
    return vector if scale == 1 else lambda obs: vector(obs) / scale
