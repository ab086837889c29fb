"""A bonus for what has rarely been seen, by counting (Strehl & Littman 2008; Tang et al. 2017, arXiv:1611.04717)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...agents.agent import Metrics, Transition
from .reward import Bonus, BonusConfig, Setting


@dataclass(frozen=True)
class CountConfig(BonusConfig):
    """Counts of visits."""


class Count(Bonus):
    """The bonus of an observation whose cell has been visited `n` times, this time included, is `1 / sqrt(n)`."""

    Config = CountConfig

    def __init__(self, config: CountConfig, setting: Setting):
        super().__init__(config, setting)

    def bonus(
        self, transition: Transition, rows: np.ndarray, visits: np.ndarray
    ) -> tuple[np.ndarray, Metrics]:
        """`1 / sqrt(n)`, `[N]`."""
        return visits**-0.5, {}
