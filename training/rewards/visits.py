"""How often has it been here? Observations as cells, and a count of visits for each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from ...agents.agent import named_generator
from ...networks.pictures import is_picture
from ...networks.vectors import VECTOR_SPACES, leaf_observations, leaf_spaces

HashName = Literal["auto", "cells", "simhash"]


class Visits:
    """Counts of visits by cell; which observations are one cell depends on the space and three settings.

    Args:
        space: of observations.
        hash: `cells` rounds numbers to multiples of `cell`; bytes, whole numbers and choices are exact. `simhash` takes
            the signs of `bits` random projections of an observation that is shifted to mean 0 (Charikar 2002; Tang et
            al. 2017, "#Exploration"). `auto` is `simhash` for the pictures in an observation, and `cells` for the rest.
        cell: width of a cell, in units of the observation.
        bits: number of projections.
        seed: of the projections.
    """

    def __init__(self, space: spaces.Space, hash: HashName, cell: float, bits: int, seed: int):
        self.space = space
        self.leaves = [leaf_hash(leaf, hash, cell, bits, seed) for leaf in leaf_spaces(space)]
        self.counts: dict[int, int] = {}

    def __len__(self) -> int:
        """Cells that have been visited."""
        return len(self.counts)

    def add(self, obs: Any) -> np.ndarray:
        """Count a visit of each observation `[N, ...]`; returns how often its cell was visited by then, `[N]`."""
        counts = self.counts
        visits = []
        for key in self.keys(obs):
            counts[key] = count = counts.get(key, 0) + 1
            visits.append(count)
        return np.array(visits, np.int64)

    def keys(self, obs: Any) -> list[int]:
        """Names of the cells of observations `[N, ...]`, 64 bits each."""
        arrays = leaf_observations(self.space, obs)
        codes = [hash(array) for hash, array in zip(self.leaves, arrays, strict=True)]
        rows = codes[0] if len(codes) == 1 else np.concatenate(codes, 1)
        return [int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little") for row in rows]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Cells and counts, in the order of their first visits."""
        return {
            "cells": np.fromiter(self.counts.keys(), np.uint64, len(self.counts)),
            "counts": np.fromiter(self.counts.values(), np.int64, len(self.counts)),
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state_dict` gave."""
        self.counts = dict(zip(state["cells"].tolist(), state["counts"].tolist(), strict=True))


def leaf_hash(
    space: spaces.Space, hash: HashName, cell: float, bits: int, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from observations `[N, ...]` of an unnested space to bytes `[N, K]` that name their cells.

    Raises:
        TypeError: the space is one of text, say.
    """
    if not isinstance(space, VECTOR_SPACES):
        raise TypeError(f"observations {' '.join(str(space).split())} cannot be counted")
    size = int(np.prod(space.shape or ()))
    # Less their mean, one number is always 0 and two differ in their sign alone.
    if size > 2 and (hash == "simhash" or (hash == "auto" and is_picture(space))):
        projection = named_generator(seed, "simhash").standard_normal((size, bits))
        matrix = projection.astype(np.float32)
        return lambda obs: simhash(obs, matrix)
    if np.issubdtype(space.dtype, np.floating):
        return lambda obs: rounded(obs, cell)
    return lambda obs: np.ascontiguousarray(obs.reshape(len(obs), -1).astype(np.int64)).view(np.uint8)


def rounded(obs: np.ndarray, cell: float) -> np.ndarray:
    """Bytes `[N, K]` of numbers `[N, ...]` rounded to whole cells: the nearest one, halves upwards."""
    cells = np.floor(obs.reshape(len(obs), -1).astype(np.float64) / cell + 0.5)
    return np.ascontiguousarray(cells.astype(np.int64)).view(np.uint8)


def simhash(obs: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Bytes `[N, K]` of the signs of `(obs - mean(obs)) @ matrix`, for observations `[N, ...]`, `matrix [D, bits]`."""
    flat = obs.reshape(len(obs), -1).astype(np.float32)
    return np.packbits((flat - flat.mean(1, keepdims=True)) @ matrix > 0, axis=1)


def one_over_visits(cell: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Of each of some cells `[...]` one over how often it is among those that are `known [...]`, and 0 of the others.

    >>> one_over_visits(np.array([7, 7, 8, 8]), np.array([True, True, True, False]))
    array([0.5, 0.5, 1. , 0. ])
    """
    share = np.zeros(cell.shape)
    _, which, counts = np.unique(cell[known], return_inverse=True, return_counts=True)
    share[known] = 1 / counts[which]
    return share
