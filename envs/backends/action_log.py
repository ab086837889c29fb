"""The actions of the running episodes: with their seeds, all that it takes to bring environments back."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, create_empty_array

from ...networks.tree import read_row, same_leaves, tree_leaves, tree_like, tree_map, write_rows


class ActionLog:
    """Rows `[T, B, ...]`, one a vector step; rows that no running episode needs make room for new ones."""

    def __init__(self, action_space: spaces.Space, num_envs: int, capacity: int = 128):
        self.rows = create_empty_array(batch_space(action_space, num_envs), n=capacity)
        self.capacity = capacity
        self.size = 0
        # The row of the first action of each environment's running episode.
        self.start = np.zeros(num_envs, np.int64)

    def add(self, action: Any) -> None:
        """Append the actions `[B, ...]` of one step."""
        if self.size == self.capacity:
            self._make_room()
        write_rows(self.rows, self.size, action)
        self.size += 1

    def forget(self, mask: np.ndarray) -> None:
        """New episodes begin where `mask [B]`."""
        self.start[mask] = self.size

    def episode(self, index: int) -> Any:
        """Actions `[length, ...]` of the running episode of one environment."""
        return tree_map(lambda rows: rows[self.start[index] : self.size, index], self.rows)

    def _make_room(self) -> None:
        """Drop the rows before the oldest running episode; grow unless that frees half of the space."""
        needed = slice(int(self.start.min()), self.size)
        self.size -= needed.start
        self.start -= needed.start
        if 2 * self.size > self.capacity:
            self.capacity *= 2

        def moved(rows: np.ndarray) -> np.ndarray:
            larger = np.zeros((self.capacity, *rows.shape[1:]), rows.dtype)
            larger[: self.size] = rows[needed]
            return larger

        self.rows = tree_map(moved, self.rows)

    def state_dict(self, copies: range | None = None) -> dict[str, Any]:
        """Lengths `[B]` of the running episodes of (some) copies and their actions, one episode after the other."""
        copies = range(len(self.start)) if copies is None else copies
        episodes = [tree_leaves(self.episode(index)) for index in copies]
        leaves = [np.concatenate(parts) for parts in zip(*episodes, strict=True)]
        return {"lengths": self.size - self.start[copies.start : copies.stop], "actions": leaves}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the running episodes back; they now end in the same row."""
        lengths = np.array(state["lengths"])
        self.size = int(lengths.max())
        self.start = self.size - lengths
        while self.capacity < self.size:
            self.capacity *= 2
        self.rows = tree_map(lambda rows: np.zeros((self.capacity, *rows.shape[1:]), rows.dtype), self.rows)
        ends = np.cumsum(lengths)
        actions = tree_like(self.rows, state["actions"])
        for index, (end, length) in enumerate(zip(ends, lengths, strict=True)):
            target = tree_leaves(self.episode(index))
            for leaf, source in zip(target, tree_leaves(actions), strict=True):
                leaf[:] = source[end - length : end]


def episodes_state(episode: np.ndarray, log: ActionLog, obs: Any) -> dict[str, Any]:
    """What brings running episodes back: numbers, which the seeds follow from, and actions; `obs` is to compare."""
    return {"episode": episode.copy(), "log": log.state_dict(), "obs": tree_leaves(obs)}


def warn_unless_same(obs: Any, leaves: list[np.ndarray]) -> None:
    """Compare the observations of replayed episodes with those before, and warn where they differ."""
    before = tree_like(obs, leaves)
    for i in range(len(leaves[0])):
        if not same_leaves(read_row(obs, i), read_row(before, i)):
            warnings.warn(
                f"environment {i} did not come back as it was: it is not deterministic under its seed, "
                "so this run does not resume exactly",
                RuntimeWarning,
                stacklevel=3,
            )
