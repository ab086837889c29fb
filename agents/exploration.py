"""Exploration by random actions (epsilon-greedy)."""

from __future__ import annotations

import numpy as np


def with_random_rows(values: np.ndarray, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Values `[B, A]` with random ones where `rows [B]` is true: so the best of them is a random action.

    A mask that is applied afterwards holds for random actions, too.
    """
    if count := np.count_nonzero(rows):
        values = values.copy()
        values[rows] = generator.random((count, values.shape[1]))
    return values
