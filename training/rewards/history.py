"""Trajectories that stay varied: what is left out first is what has been seen most often."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...agents.agent import Transition
from ...networks.tree import tree_map, write_rows
from .recent import empty_rows
from .reward import Setting, rows_of
from .visits import one_over_visits

# One piece of a trajectory in ten is held out.
HELD_OUT_EVERY = 10
ARRAYS = ("cell", "piece", "column", "steps", "current")


class History:
    """Observations of past steps `[T, S]`: a column has consecutive steps of one environment, in numbered pieces.

    An episode is one piece in each column that it is in. Each environment writes a column of its own. Where that is
    full, it goes on in the column that is the most commonplace: `rarity` says of each. A policy that dithers thus
    overwrites what it has just seen, and not what was found before.

    Args:
        setting: what the observations are of.
        steps: that there is room for, at least 4 for each environment.
        longest: no column has more.
    """

    def __init__(self, setting: Setting, steps: int, longest: int):
        num_envs = setting.num_envs
        self.length = max(2, min(longest, steps // (2 * num_envs)))
        """T."""
        shape = (self.length, max(2 * num_envs, steps // self.length))
        empty = empty_rows("bonus.history", setting.observation_space, shape[0] * shape[1])
        self.obs = tree_map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), empty)
        self.cell = np.zeros(shape, np.uint64)
        """Names of the places where the observations were made."""
        self.piece = np.full(shape, -1, np.int64)
        """Numbers of pieces, -1 where there is nothing."""
        self.pieces = 0
        """Pieces that were ever begun."""
        self.column = np.arange(num_envs)
        """What each environment writes."""
        self.steps = np.zeros(num_envs, np.int64)
        """Steps that it has written there."""
        self.current = np.full(num_envs, -1, np.int64)
        """The piece that it is in, -1 where its next step begins one."""

    def add(self, transition: Transition, rows: np.ndarray, cells: np.ndarray) -> None:
        """Add `obs` of the valid `rows [N]`, which were made in `cells [N]`."""
        new = rows[transition.first[rows] | (self.current[rows] < 0)]
        self.current[new] = self.pieces + np.arange(len(new))
        self.pieces += len(new)
        at = (self.steps[rows], self.column[rows])
        write_rows(self.obs, at, rows_of(transition.obs, rows))
        self.cell[at], self.piece[at] = cells, self.current[rows]
        self.steps[rows] += 1
        for env in rows[self.steps[rows] == self.length]:
            self.column[env] = column = self.most_commonplace(env)
            self.piece[:, column] = -1
            self.steps[env], self.current[env] = 0, -1

    def most_commonplace(self, env: int) -> int:
        """The column with the least rarity, of those that no environment but `env` writes; of equals the oldest."""
        rarity = self.rarity()
        rarity[np.delete(self.column, env)] = np.inf
        least = np.flatnonzero(rarity == rarity.min())
        return int(least[self.piece[0, least].argmin()])

    def rarity(self) -> np.ndarray:
        """Of each column `[S]` the mean of one over how often the place of each step is in the history; 0 if empty."""
        known = self.piece >= 0
        return one_over_visits(self.cell, known).sum(0) / np.maximum(known.sum(0), 1)

    def numbered(self, held_out: bool) -> np.ndarray:
        """Pieces `[T, S]`; only those that are held out, or only the others, are not -1."""
        out = self.piece % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        return np.where((self.piece >= 0) & (out == held_out), self.piece, -1)

    def read(self, places: tuple[np.ndarray, np.ndarray]) -> Any:
        """Observations `[N, ...]` at some `(time, column)`."""
        return tree_map(lambda leaf: leaf[places], self.obs)

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return {"obs": self.obs, "pieces": self.pieces} | {name: getattr(self, name) for name in ARRAYS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        write_rows(self.obs, slice(None), state["obs"])
        for name in ARRAYS:
            getattr(self, name)[:] = state[name]
        self.pieces = int(state["pieces"])
