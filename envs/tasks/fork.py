"""A fork in every step: what a model of the world must not average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from .task import Outcome, Task, at_least, register_task

# Of the place before, this share is kept, and actions push by this much; the fork goes one way or the other by 1.
KEPT, PUSH, NOISE = 0.5, 0.25, 0.05
PLACE, TIME, DRAWN = 0, 1, 2


@dataclass(frozen=True)
class Fork(Task):
    """A place on a line that jumps to the left or to the right in every step, as a coin says.

    The next place is half the last one, a push by the action, 1 or -1, and a little noise (deviation 0.05).
    Observations: the place `[1]`, float32.
    Actions: 0 push left, 1 push right.
    Reward: the place after the step. Random play has 0 on average; always pushing right gives about 0.47 a step.
    Episodes have `length` steps and end by truncation.
    Source: the two-moded toy transition by which generative models of dynamics are compared.
    """

    length: int = 20
    """Steps of an episode."""

    def __post_init__(self) -> None:
        at_least(length=(self.length, 1))

    @property
    def observation_space(self) -> spaces.Box:
        """The place."""
        return spaces.Box(-np.inf, np.inf, (1,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        """Left, right."""
        return spaces.Discrete(2)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """World: place, time, and the jumps with their noise, which are drawn before."""
        coins = generator.integers(0, 2, self.length) * 2 - 1
        jumps = coins + NOISE * generator.standard_normal(self.length)
        return np.concatenate([[generator.uniform(-1, 1), 0.0], jumps])

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """The place."""
        return worlds[:, :DRAWN][:, [PLACE]].astype(np.float32)

    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """Jump."""
        time = worlds[:, TIME].astype(np.int64)
        jump = worlds[np.arange(len(worlds)), DRAWN + time]
        worlds[:, PLACE] = _middle(worlds[:, PLACE], action) + jump
        worlds[:, TIME] += 1
        over = worlds[:, TIME] >= self.length
        return Outcome(worlds[:, PLACE].copy(), np.zeros_like(over), over)

    def state(self, worlds: np.ndarray) -> np.ndarray:
        """The place; jumps to come cannot be known."""
        return worlds[:, [PLACE]]

    def mode(self, obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
        """-1 and 1 for the two ways; 0 where a successor lies between them, more than half the way from both."""
        jump = next_obs[:, 0] - _middle(obs[:, 0], action)
        return np.where(np.abs(jump) < 0.5, 0, np.sign(jump)).astype(np.int64)


def _middle(place: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Where a step would lead without a jump."""
    return KEPT * place + PUSH * (2 * action - 1)


def register_fork() -> None:
    """Make it known to Gymnasium."""
    register_task("palaestra/Fork-v0", Fork)
