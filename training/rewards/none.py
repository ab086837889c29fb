"""No learned reward: the agent learns from the environment's. A run does not build these two, which cost a little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...agents.agent import Metrics, Transition
from ...networks.stateful import Stateful
from .reward import Bonus, Setting, Substitute


@dataclass(frozen=True)
class NoRewardConfig:
    """Nothing to choose."""


class NoBonus(Bonus):
    """Adds nothing."""

    Config = NoRewardConfig

    def __init__(self, config: NoRewardConfig, setting: Setting): ...

    def reward(self, transition: Transition) -> tuple[np.ndarray, Metrics]:
        """Zeros `[B]`."""
        return np.zeros(len(transition.reward)), {}

    def bonus(
        self, transition: Transition, rows: np.ndarray, visits: np.ndarray
    ) -> tuple[np.ndarray, Metrics]:
        """Zeros `[N]`."""
        return np.zeros(len(rows)), {}

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """None."""
        return {}


class NoSubstitute(Substitute):
    """Leaves the environment's reward."""

    Config = NoRewardConfig

    def __init__(self, config: NoRewardConfig, setting: Setting): ...

    def reward(self, transition: Transition) -> tuple[np.ndarray, Metrics]:
        """The environment's."""
        return transition.reward, {}

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """None."""
        return {}
