"""A sum tree: draw indices in proportion to their priorities, and change priorities, in O(log n)."""

from __future__ import annotations

import numpy as np

# Few levels make few NumPy calls: with 16 children, setting 128 of 50,000 priorities takes a third of the
# time that it takes in a binary tree, and finding them the same.
CHILDREN = 16


class SumTree:
    """Non-negative priorities `[capacity]` and, level upon level, the sums of every 16 neighbours.

    Sums are always computed from the children, never adjusted by differences, so rounding does not build up.
    """

    def __init__(self, capacity: int):
        if capacity < 1:
            raise ValueError(f"a sum tree needs a capacity of at least 1, got {capacity}")
        self.capacity = capacity
        # From the priorities themselves up to the level whose only row holds the sums of everything.
        self.levels = [_blocks(capacity)]
        while len(self.levels[-1]) > 1:
            self.levels.append(_blocks(len(self.levels[-1])))

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self.levels[-1].sum())

    @property
    def priorities(self) -> np.ndarray:
        """All priorities `[capacity]`, as a view."""
        return self.levels[0].reshape(-1)[: self.capacity]

    def set(self, indices: np.ndarray, priorities: np.ndarray | float) -> None:
        """Give indices `[N]` new priorities; where an index comes twice, the later one counts."""
        self.priorities[indices] = priorities
        for children, parents in zip(self.levels, self.levels[1:], strict=False):
            indices = indices // CHILDREN
            parents.reshape(-1)[indices] = children.take(indices, 0).sum(-1)

    def find(self, positions: np.ndarray) -> np.ndarray:
        """Indices `[N]` at positions `[N]` in `[0, total)` of all priorities laid end to end.

        An index of priority zero is never returned, as long as there is another.
        """
        blocks = np.zeros(len(positions), np.int64)
        rows = np.arange(len(positions))
        for level in reversed(self.levels):
            children = level.take(blocks, 0)
            ends = children.cumsum(-1)
            # Rounding can put a position past the end; the first child to end after it is never an empty one.
            positions = np.minimum(positions, np.nextafter(ends[:, -1], 0))
            chosen = (ends > positions[:, None]).argmax(-1)
            starts = ends[rows, chosen] - children[rows, chosen]
            positions = np.maximum(positions - starts, 0)
            blocks = blocks * CHILDREN + chosen
        return blocks


def _blocks(count: int) -> np.ndarray:
    """Zeros for at least `count` numbers, `[blocks, 16]`."""
    return np.zeros((-(-count // CHILDREN), CHILDREN))
