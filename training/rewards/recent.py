"""The steps since something was last learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import create_empty_array

from ...networks.tree import tree_leaves, tree_map, write_rows
from ..settings.planning import check_fits, step_bytes


def empty_rows(option: str, space: spaces.Space, count: int) -> Any:
    """A tree of arrays `[count, ...]` for values of a space; raises `UsageError` where they do not fit into memory."""
    check_fits(option, count, count * step_bytes(space))
    return tree_map(np.asarray, create_empty_array(space, count))


class Recent:
    """Collects steps, each a tree of values of some spaces, until there are enough to learn from."""

    def __init__(self, option: str, space: spaces.Tuple, enough: int, num_envs: int):
        self.enough = enough
        # What is kept never outgrows this: it is taken as soon as it is enough.
        self.rows = empty_rows(option, space, enough + num_envs)
        self.count = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of them once there are enough."""
        return sum(leaf.nbytes for leaf in tree_leaves(self.rows))

    def add(self, rows: tuple[Any, ...], count: int) -> bool:
        """Add `count` steps, arrays `[count, ...]`; returns whether there are enough now."""
        write_rows(self.rows, slice(self.count, self.count + count), rows)
        self.count += count
        return self.count >= self.enough

    def take(self) -> tuple[tuple[Any, ...], int]:
        """All steps, arrays `[N, ...]` that the next ones are written over, and N; there are none then."""
        count, self.count = self.count, 0
        return tree_map(lambda leaf: leaf[:count], self.rows), count

    def state_dict(self) -> dict[str, Any]:
        """What is there."""
        return {"rows": tree_map(lambda leaf: leaf[: self.count].copy(), self.rows), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.count = int(state["count"])
        write_rows(self.rows, slice(0, self.count), state["rows"])


def batches(count: int, batch_size: int, epochs: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield indices `[<= batch_size]` that go through `count` rows so many times, each time in another order."""
    for _ in range(epochs):
        order = generator.permutation(count)
        yield from np.array_split(order, max(1, -(-count // batch_size)))
