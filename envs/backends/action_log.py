"""The actions of the running episodes: with their seeds, all that it takes to bring environments back."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, create_empty_array

from ...networks.tree import concatenated, read_row, same_leaves, tree_leaves, tree_like, tree_map, write_rows

# Of the actions of all running episodes together; replaying so many takes minutes.
MOST_BYTES = 64 * 2**20


class ActionLog:
    """Actions of each copy's running episode: those of the last steps in rows `[T, B, ...]`, older ones by copy.

    So each copy takes what its own episode needs. Beyond `most_bytes` the longest episode is given up: it cannot be
    brought back any more, and a warning says so.
    """

    def __init__(
        self, action_space: spaces.Space, num_envs: int, capacity: int = 128, most_bytes: int | None = None
    ):
        self.rows = create_empty_array(batch_space(action_space, num_envs), n=capacity)
        self.capacity, self.most_bytes = capacity, most_bytes or MOST_BYTES
        self.action_bytes = sum(leaf[0, 0].nbytes for leaf in tree_leaves(self.rows))
        self.size = 0
        # The row of the first action of each environment's running episode that is still in `rows`.
        self.start = np.zeros(num_envs, np.int64)
        # The actions before, in pieces, and how many they are.
        self.pieces: list[list[Any]] = [[] for _ in range(num_envs)]
        self.moved = np.zeros(num_envs, np.int64)
        self.given_up = np.zeros(num_envs, bool)

    @property
    def lengths(self) -> np.ndarray:
        """Actions `[B]` of the running episodes."""
        return self.moved + self.size - self.start

    @property
    def num_bytes(self) -> int:
        """Bytes of all actions that are kept."""
        kept = int(self.moved[~self.given_up].sum())
        return kept * self.action_bytes + sum(leaf.nbytes for leaf in tree_leaves(self.rows))

    def add(self, action: Any) -> None:
        """Append the actions `[B, ...]` of one step."""
        if self.size == self.capacity:
            self._make_room()
        write_rows(self.rows, self.size, action)
        self.size += 1

    def forget(self, mask: np.ndarray) -> None:
        """New episodes begin where `mask [B]`."""
        self.start[mask] = self.size
        self.moved[mask], self.given_up[mask] = 0, False
        for index in np.flatnonzero(mask).tolist():
            self.pieces[index] = []

    def episode(self, index: int) -> Any:
        """Actions `[length, ...]` of the running episode of one environment."""
        newest = tree_map(lambda rows: rows[self.start[index] : self.size, index], self.rows)
        if not self.pieces[index]:
            return newest
        return concatenated([*self.pieces[index], newest])

    def _make_room(self) -> None:
        """Move the rows to the copies whose running episodes need them."""
        for index, start in enumerate(self.start.tolist()):
            if start < self.size and not self.given_up[index]:
                # A copy: a view would keep the rows of all.
                self.pieces[index].append(
                    tree_map(lambda x, at=(slice(start, self.size), index): x[at].copy(), self.rows)
                )
        self.moved += self.size - self.start
        self.start[:] = self.size = 0
        while (kept := np.where(self.given_up, 0, self.moved)).sum() * self.action_bytes > self.most_bytes:
            self._give_up(int(kept.argmax()))

    def _give_up(self, index: int) -> None:
        self.pieces[index], self.given_up[index] = [], True
        warnings.warn(
            f"environment {index} has not ended its episode within {self.moved[index]:,} steps: their actions are "
            f"no longer kept (at most {self.most_bytes:,} bytes are), so that a run resumed before it ends begins "
            "new episodes",
            RuntimeWarning,
            stacklevel=5,
        )

    def state_dict(self, copies: range | None = None) -> dict[str, Any] | None:
        """Lengths `[B]` of the running episodes of (some) copies and their actions, one episode after the other.

        None where one was given up.
        """
        copies = range(len(self.start)) if copies is None else copies
        if self.given_up[copies.start : copies.stop].any():
            return None
        episodes = [tree_leaves(self.episode(index)) for index in copies]
        leaves = [np.concatenate(parts) for parts in zip(*episodes, strict=True)]
        return {"lengths": self.lengths[copies.start : copies.stop], "actions": leaves}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the running episodes back."""
        self.forget(np.ones(len(self.start), bool))
        self.moved = np.array(state["lengths"], np.int64)
        ends, actions = np.cumsum(self.moved), tree_like(self.rows, state["actions"])
        for index, (end, length) in enumerate(zip(ends.tolist(), self.moved.tolist(), strict=True)):
            if length:
                part = slice(end - length, end)
                self.pieces[index] = [tree_map(lambda x, part=part: x[part].copy(), actions)]


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
