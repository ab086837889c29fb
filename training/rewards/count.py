"""A bonus for what has rarely been seen, by counting (Strehl & Littman 2008; Tang et al. 2017, arXiv:1611.04717)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...agents.agent import Metrics, Transition
from ...networks.stateful import Stateful
from .reward import Bonus, BonusConfig, Setting, rows_of


@dataclass(frozen=True)
class CountConfig(BonusConfig):
    """Counts of visits."""

    first_visits: bool = False
    """Pay only for the first visit of an episode to a cell: what is rare is worth nothing the second time. For
    environments where each episode is another world, so that nearly everything is rare."""


class Count(Bonus):
    """The bonus of an observation whose cell has been visited `n` times, this time included, is `1 / sqrt(n)`.

    With `first_visits` it is 0 where the episode has been there before (Zhang et al. 2021, "NovelD").
    """

    Config = CountConfig

    def __init__(self, config: CountConfig, setting: Setting):
        super().__init__(config, setting)
        self.episodes = EpisodeCells(setting.num_envs) if config.first_visits else None

    def bonus(
        self, transition: Transition, rows: np.ndarray, visits: np.ndarray
    ) -> tuple[np.ndarray, Metrics]:
        """`1 / sqrt(n)`, `[N]`."""
        bonus = visits**-0.5
        if self.episodes is not None:
            begun = rows[transition.first[rows]]
            self.episodes.begin(begun, self.visits.keys(rows_of(transition.obs, begun)) if len(begun) else [])
            bonus *= self.episodes.add(rows, self.visits.keys(rows_of(transition.next_obs, rows)))
        return bonus, {}

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Counts, and where the episodes have been."""
        return super().parts() | ({} if self.episodes is None else {"episodes": self.episodes})


class EpisodeCells:
    """The cells that each environment's episode has been in."""

    def __init__(self, num_envs: int):
        self.cells: list[set[int]] = [set() for _ in range(num_envs)]

    def begin(self, rows: np.ndarray, cells: Iterable[int]) -> None:
        """Some environments begin an episode in some cells."""
        for row, cell in zip(rows, cells, strict=True):
            self.cells[row] = {cell}

    def add(self, rows: np.ndarray, cells: Iterable[int]) -> np.ndarray:
        """Some environments come to some cells; returns which of these are new to their episodes, `[N]`."""
        new = []
        for row, cell in zip(rows, cells, strict=True):
            new.append(cell not in self.cells[row])
            self.cells[row].add(cell)
        return np.array(new, bool)

    def state_dict(self) -> dict[str, Any]:
        """All cells, and how many are whose."""
        each = [np.array(sorted(cells), np.uint64) for cells in self.cells]
        return {"cells": np.concatenate(each), "counts": np.array([len(cells) for cells in each])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        parts = np.split(state["cells"], np.cumsum(state["counts"])[:-1])
        self.cells = [set(part.tolist()) for part in parts]
