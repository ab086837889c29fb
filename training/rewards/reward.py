"""What a learned reward is: it sees every transition between collector and agent, and says what the agent gets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from annotated_types import Gt, Interval
from gymnasium import spaces
from torch import Tensor

from ...agents.agent import Counter, Metrics, Transition, named_generator
from ...agents.schedules import Schedule, check_schedules, scheduled
from ...networks.layers import initialized
from ...networks.stateful import Stateful
from ...networks.tree import tree_map
from ..settings.usage import RunFailedError
from .visits import HashName, Visits

# A cell and its count in a dictionary of so many (measured: 70 to 90).
CELL_BYTES = 100


class Setting(NamedTuple):
    """What a learned reward is made for."""

    observation_space: spaces.Space
    action_space: spaces.Space
    num_envs: int
    seed: int
    total_steps: int
    """Environment steps over which schedules run."""
    device: torch.device
    gamma: float = 0.99
    """The agent's discount."""
    data: tuple[str, ...] = ()
    """Names of the demonstrations that the run is given."""
    episodes: int = 0
    """How many of them it uses; 0 is all."""


class LearnedReward(ABC):
    """Decides on the rewards that an agent learns from; concrete classes take `(config, setting)`.

    It decides by itself when it learns, as agents do, and changes neither observations nor actions.
    """

    Config: ClassVar[type]
    replaces: ClassVar[bool]
    """Whether its reward stands in place of the environment's, or is added to it."""
    watches: ClassVar[bool] = False
    """Whether it learns from demonstrations."""

    @abstractmethod
    def __init__(self, config: Any, setting: Setting): ...

    @abstractmethod
    def reward(self, transition: Transition) -> tuple[np.ndarray, Metrics]:
        """Rewards `[B]` of one step of all environments, and what is to be logged; learns when it is time.

        In rows that are not `valid` the environment was resetting: they have no reward, and are not learned from.
        """

    @abstractmethod
    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Everything that a checkpoint must hold, by name, random generators included."""

    def kept(self) -> dict[str, int]:
        """Bytes of what it will keep beside its parts as they are at first, by what that is."""
        return {}

    def summary(self) -> str:
        """What it begins with, in a few words; nothing where there is nothing to say."""
        return ""


@dataclass(frozen=True)
class BonusConfig:
    """What every bonus has."""

    scale: Schedule = 0.1
    """What the bonus is multiplied by: a number, or linear(start, end) over the run. With 0 nothing is added, and
    coverage is still measured."""
    hash: HashName = "auto"
    """Which observations are one cell, for counts and coverage: cells rounds their numbers (bytes and choices are
    exact), simhash keeps the signs of random projections (Tang et al. 2017); auto is simhash for pictures."""
    cell: Annotated[float, Gt(0)] = 0.1
    """Width of a cell, in units of the observation."""
    bits: Annotated[int, Interval(ge=1, le=64)] = 32
    """Projections of simhash: more tell more observations apart."""

    def __post_init__(self) -> None:
        check_schedules(self, "scale")


class Bonus(LearnedReward, ABC):
    """A reward for what is new, added to the environment's."""

    replaces = False

    def __init__(self, config: BonusConfig, setting: Setting):
        self.bonus_config = config
        self.counter = Counter(setting.total_steps)
        self.visits = Visits(setting.observation_space, config.hash, config.cell, config.bits, setting.seed)

    @abstractmethod
    def bonus(
        self, transition: Transition, rows: np.ndarray, visits: np.ndarray
    ) -> tuple[np.ndarray, Metrics]:
        """Bonus of the valid `rows [N]`, at least one, before it is scaled; and what is to be logged.

        `visits [N]` says how often the cells of their `next_obs` have been visited, this time included.
        """

    def reward(self, transition: Transition) -> tuple[np.ndarray, Metrics]:
        """The scaled bonus `[B]` of `next_obs`, with `bonus/mean` and `bonus/coverage`."""
        reward, rows = np.zeros(len(transition.reward)), valid_rows(transition)
        if not len(rows):
            return reward, {}
        visits = self.visits.add(rows_of(transition.next_obs, rows))
        self.counter.add(len(rows))
        bonus, metrics = checked(
            f"{type(self).__name__}.bonus", self.bonus(transition, rows, visits), len(rows)
        )
        reward[rows] = bonus * scheduled(self.bonus_config.scale, self.counter.progress)
        mean, coverage = float(reward[rows].mean()), float(len(self.visits))
        return reward, {**metrics, "bonus/mean": mean, "bonus/coverage": coverage}

    def kept(self) -> dict[str, int]:
        """Counts of all cells that there may be; subclasses add theirs."""
        return {"cells, at most": CELL_BYTES * self.counter.total}

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Counts; subclasses add theirs."""
        return {"counter": self.counter, "visits": self.visits}


class Substitute(LearnedReward, ABC):
    """A reward in place of the environment's."""

    replaces = True


def checked(method: str, found: Any, size: int) -> tuple[np.ndarray, Metrics]:
    """What a learned reward gives for `size` rows, whose class may be from outside.

    Raises:
        RunFailedError: it is no array `[size]` with metrics beside it, or one of its numbers is not finite.
    """
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], dict):
        raise RunFailedError(
            f"{method} returns {found!r:.80}; expected are rewards ({size},) and a dict of metrics"
        )
    paid, metrics = np.asarray(found[0]), found[1]
    if paid.shape != (size,) or paid.dtype.kind not in "buif":
        raise RunFailedError(
            f"{method} returns rewards {paid.shape} of {paid.dtype}; expected are ({size},), a number for each step"
        )
    if not np.isfinite(paid).all():
        odd = paid[~np.isfinite(paid)][0]
        raise RunFailedError(f"{method} returns a reward of {odd}, which the agent cannot learn from")
    return paid, metrics


def valid_rows(transition: Transition) -> np.ndarray:
    """Rows `[N]` of a transition that are steps of the environment."""
    if transition.valid is None:
        return np.arange(len(transition.reward))
    return np.flatnonzero(transition.valid)


def rows_of(tree: Any, rows: np.ndarray | Tensor) -> Any:
    """Some rows `[N, ...]` of every leaf `[B, ...]`."""
    return tree_map(lambda leaf: leaf[rows], tree)


def seeded(seed: int, name: str) -> AbstractContextManager[None]:
    """Make networks here whose weights depend on the run's seed and their purpose alone."""
    return initialized(int(named_generator(seed, name).integers(2**63)))
