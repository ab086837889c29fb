"""An agent is two verbs: `act` and `learn`. It decides by itself when it learns, so one loop trains them all."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from ..networks.action_spaces import ANY, ActionSpaces
from ..networks.stateful import Stateful
from ..networks.torso import Torso

# What `learn` reports, by name; tensors stay tensors until somebody logs them.
Metrics = dict[str, Tensor | float]


class Transition(NamedTuple):
    """One step of all environments, NumPy arrays `[B, ...]`."""

    obs: Any
    action: Any
    """As the environment takes it: dicts and tuples of arrays where its space nests. Agents store one array."""
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    next_obs: Any
    """The true successor of `obs`, also where the episode ended."""
    first: np.ndarray
    """This `obs` opens an episode."""
    state: np.ndarray
    """The agent's memory `[B, S]` before `obs`."""
    next_state: np.ndarray | None = None
    """The agent's memory after it, also where the episode ended; None without a memory."""
    valid: np.ndarray | None = None
    """False where the backend spent the step on resetting; None when every row is real."""

    @property
    def done(self) -> np.ndarray:
        """Where an episode ended, one way or the other."""
        return self.terminated | self.truncated

    @property
    def num_steps(self) -> int:
        """Environment steps in this transition, summed over environments."""
        return len(self.reward) if self.valid is None else int(self.valid.sum())


class Store(NamedTuple):
    """Memory that an agent keeps steps in."""

    option: str
    """Field of its config that says how many."""
    steps: int
    """Steps that it holds, summed over environments."""
    num_bytes: int
    """Bytes of all of them."""
    at_once: int = 0
    """Steps of them that go through the networks together; 0 where those are a batch."""


class StepStore(ABC):
    """A part of an agent that keeps steps."""

    @abstractmethod
    def store(self, step_bytes: int, state_size: int, num_envs: int, frames: int = 1) -> Store:
        """What it takes once it is full.

        Args:
            step_bytes: bytes of an observation and an action.
            state_size: numbers in the agent's memory.
            num_envs: environments that are stepped together.
            frames: how many frames an observation stacks.
        """


class Agent(ABC):
    """Chooses actions and learns from what they led to.

    A concrete agent takes `(config, action_space, make_torso, *, seed, total_steps, device, compile)`: it asks
    `make_torso` for as many torsos as its algorithm needs, puts its own heads on them, and never sees an
    observation space.
    """

    Config: ClassVar[type]
    """Settings, a frozen dataclass; by a method `planned_updates(total_steps, num_envs)` it may say how many optimiser
    steps there will be, on which it depends whether compiling pays, and by `obstacle(total_steps, num_envs)` why there
    will be none (an `Obstacle` or None)."""
    takes: ClassVar[ActionSpaces] = ANY
    """Actions that it can choose."""
    watches: ClassVar[bool] = False
    """Whether the steps that it learns from are a teacher's, out of demonstrations (`--data`), not its own."""
    # Options of encoders, by the encoder's name, that suit this agent better than the encoder's own defaults.
    encoder_defaults: ClassVar[dict[str, dict[str, Any]]] = {}

    @abstractmethod
    def __init__(
        self,
        config: Any,
        action_space: spaces.Space,
        make_torso: Callable[[], Torso],
        *,
        seed: int,
        total_steps: int,
        device: torch.device,
        compile: bool,
    ): ...

    @abstractmethod
    def initial_state(self, num_envs: int) -> np.ndarray:
        """Memory `[num_envs, S]` before any observation."""

    @abstractmethod
    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[Any, np.ndarray]:
        """Choose actions `[B, ...]` for observations `[B, ...]`; returns them and the next memory `[B, S]`.

        `first [B]` marks observations that open an episode. Without `explore` the agent does its best, draws no
        random number and changes nothing.
        """

    @abstractmethod
    def learn(self, transition: Transition) -> Metrics:
        """Take in one step of all environments, and learn when it is time; `{}` while it is not."""

    def skip(self, steps: int) -> None:
        """Let schedules go on by steps that were planned and are not made, such as dreams that are not trusted.

        By default all `Counter`s among the parts do.
        """
        for part in self.parts().values():
            if isinstance(part, Counter):
                part.skip(steps)

    def stores(self, step_bytes: int, num_envs: int, frames: int = 1) -> list[Store]:
        """Memory that steps will take; `step_bytes` are those of an observation, of so many frames, and an action."""
        state_size = self.initial_state(1).shape[1]
        stores = (part for part in self.parts().values() if isinstance(part, StepStore))
        return [part.store(step_bytes, state_size, num_envs, frames) for part in stores]

    @abstractmethod
    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Everything that a checkpoint must hold, by name, random generators included."""


class Counter:
    """Environment steps that an agent has learned from; drives its schedules."""

    def __init__(self, total: int):
        self.total = total
        self.count = self.previous = self.skipped = 0

    def add(self, steps: int) -> None:
        """Count `steps` more."""
        self.previous = self.count
        self.count += steps

    def passed(self, period: int) -> int:
        """Multiples of `period` that the last `add` reached; one step of many environments can pass several."""
        return self.count // period - self.previous // period

    def skip(self, steps: int) -> None:
        """Let the run progress by steps that were planned and are not made."""
        self.skipped += steps

    @property
    def progress(self) -> float:
        """Fraction of the run that is done, 0 to 1."""
        return min(1.0, (self.count + self.skipped) / self.total)

    def state_dict(self) -> dict[str, int]:
        """The count. The total belongs to the run's config: a longer run continues its schedules at their place."""
        return {"count": self.count} | ({"skipped": self.skipped} if self.skipped else {})

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore the count."""
        self.count = self.previous = state["count"]
        self.skipped = state.get("skipped", 0)


def named_generator(seed: int, name: str) -> np.random.Generator:
    """Return a random generator of its own for each purpose, so that one never shifts another's numbers."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def mean_metrics(steps: list[dict[str, Tensor]]) -> Metrics:
    """Means of what some gradient steps report, each over those that report it."""
    if len(steps) == 1:
        return dict(steps[0])
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: torch.stack([step[name] for step in steps if name in step]).mean() for name in names}
