"""Tasks that cannot be solved without remembering: what an agent has to know is no longer in sight.

| `palaestra/...-v0` | arguments | memoryless at best | best |
|---|---|---|---|
| Recall | `delay=4`, `continuous=False`, `pixels=0` | 0.5 | 1 |
| TMaze | `length=10` | 0.5 | 1 |
| RepeatPrevious | `k=4`, `length=52` | -0.5 | 1 |

In Recall and TMaze the return is the rate of success.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from .task import Outcome, Task, at_least, register_task


def draw_sign(generator: np.random.Generator) -> int:
    """-1 or 1."""
    return 2 * int(generator.integers(2)) - 1


@dataclass(frozen=True)
class Recall(Task):
    """Say after `delay` steps what was shown at the beginning.

    Observations `[2]`: the cue, -1 or 1, in the first step and 0 later; 1 when the answer is due, otherwise 0. With
    `pixels` the same as a picture `[pixels, pixels, 1]` uint8: the left or the right side of its lower half is white
    for the cue -1 or 1, and its upper half is when the answer is due.
    Actions: 1 for cue 1 and 0 for cue -1. With `continuous` a number `a` in [-1, 1].
    Reward: in the last step 1 for the right answer, `(1 + cue * a) / 2` if continuous; otherwise 0.
    Episodes have `delay + 1` steps and end by termination.
    Without memory the return is 0.5 whatever one does, except with `delay=0`, the control: there the cue is in sight.
    Source: the delayed-response task of Hochreiter & Schmidhuber (1997), section 5, at its smallest.
    """

    delay: int = 4
    """Steps from the cue to the question."""
    continuous: bool = False
    """Answer with a number instead of a choice."""
    pixels: int = 0
    """Side of the picture that is shown instead of two numbers; 0 shows the numbers."""

    def __post_init__(self) -> None:
        at_least(delay=(self.delay, 0), pixels=(self.pixels, 0))

    @property
    def observation_space(self) -> spaces.Box:
        """Cue and question."""
        if self.pixels:
            return spaces.Box(0, 255, (self.pixels, self.pixels, 1), np.uint8)
        return spaces.Box(np.array([-1, 0], np.float32), np.array([1, 1], np.float32))

    @property
    def action_space(self) -> spaces.Space:
        """Two answers, or the numbers between them."""
        return spaces.Box(-1, 1, (1,), np.float32) if self.continuous else spaces.Discrete(2)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """World: cue, time."""
        return np.array([draw_sign(generator), 0])

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """Cue at the beginning, question at the end."""
        cue, time = worlds.T
        if self.pixels:
            return self._pictures(cue * (time == 0), time == self.delay)
        return np.stack([cue * (time == 0), time == self.delay], axis=-1).astype(np.float32)

    def _pictures(self, cue: np.ndarray, asked: np.ndarray) -> np.ndarray:
        pictures = np.zeros((len(cue), self.pixels, self.pixels, 1), np.uint8)
        half = self.pixels // 2
        pictures[asked, :half] = 255
        pictures[cue < 0, half:, :half] = 255
        pictures[cue > 0, half:, half:] = 255
        return pictures

    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """Judge the last action."""
        cue, time = worlds.T
        asked = time == self.delay
        right = (
            (1 + np.clip(action[:, 0], -1, 1) * cue) / 2 if self.continuous else (action == 1) == (cue > 0)
        )
        time += 1
        return Outcome(np.where(asked, right, 0.0), asked, np.zeros_like(asked))


@dataclass(frozen=True)
class TMaze(Task):
    """Walk down a corridor and take the turn that a sign at its beginning told.

    Observations `[2]`: the sign, -1 or 1, in the first cell and 0 elsewhere; 1 at the junction, otherwise 0.
    Actions: 0 forward, 1 up, 2 down. In the corridor only forward moves, at the junction only a turn does.
    Reward: 1 for turning up at sign 1 or down at sign -1; otherwise 0.
    Episodes end with the turn (terminated), or are truncated after `5 * length + 10` steps.
    Without memory at best 0.5. Source: Bakker (2001), "Reinforcement learning with long short-term memory",
    without its way back and its penalties, so that the return is the rate of success.
    """

    length: int = 10
    """Steps from the sign to the junction."""

    def __post_init__(self) -> None:
        at_least(length=(self.length, 1))

    @property
    def observation_space(self) -> spaces.Box:
        """Sign and junction."""
        return spaces.Box(np.array([-1, 0], np.float32), np.array([1, 1], np.float32))

    @property
    def action_space(self) -> spaces.Discrete:
        """Forward, up, down."""
        return spaces.Discrete(3)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """World: sign, position, time."""
        return np.array([draw_sign(generator), 0, 0])

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """Sign in the first cell, junction in the last."""
        sign, position, _ = worlds.T
        return np.stack([sign * (position == 0), position == self.length], axis=-1).astype(np.float32)

    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """Walk or turn."""
        sign, position, time = worlds.T
        turned = (position == self.length) & (action > 0)
        position += (action == 0) & (position < self.length)
        time += 1
        right = turned & ((action == 1) == (sign > 0))
        return Outcome(right.astype(np.float64), turned, ~turned & (time == 5 * self.length + 10))


@dataclass(frozen=True)
class RepeatPrevious(Task):
    """Name in every step the card that was shown `k` steps before.

    Observations `[4]`: the suit of the card on top, one-hot; every card is drawn evenly, so that counting is no use.
    Actions: one of the four suits.
    Reward: from step `k` on `1 / (length - k)` for the right suit and minus that for a wrong one; 0 before.
    Episodes have `length` steps and end by termination. Without memory -0.5 (one of four is right), except with
    `k=0`, the control; best 1.
    Source: POPGym (Morad et al. 2023, arXiv:2303.01859), which deals 52 cards without putting them back.
    """

    k: int = 4
    """How far to look back."""
    length: int = 52
    """Steps of an episode."""

    def __post_init__(self) -> None:
        at_least(k=(self.k, 0), length=(self.length, self.k + 1))

    @property
    def observation_space(self) -> spaces.Box:
        """Suit, one-hot."""
        return spaces.Box(0, 1, (4,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        """Suits."""
        return spaces.Discrete(4)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """World: time, then all cards."""
        return np.concatenate([[0], generator.integers(0, 4, self.length)])

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """The card on top; nothing after the last."""
        time = worlds[:, 0]
        top = self._card(worlds, np.minimum(time, self.length - 1))
        shown = (top[:, None] == np.arange(4)) & (time < self.length)[:, None]
        return shown.astype(np.float32)

    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """Compare with the card `k` steps before."""
        time = worlds[:, 0]
        right = action == self._card(worlds, np.maximum(time - self.k, 0))
        reward = np.where(time >= self.k, np.where(right, 1.0, -1.0) / (self.length - self.k), 0.0)
        worlds[:, 0] += 1
        terminated = worlds[:, 0] == self.length
        return Outcome(reward, terminated, np.zeros_like(terminated))

    def _card(self, worlds: np.ndarray, index: np.ndarray) -> np.ndarray:
        return worlds[np.arange(len(worlds)), 1 + index]


def register_memory_tasks() -> None:
    """Make them known to Gymnasium."""
    register_task("palaestra/Recall-v0", Recall)
    register_task("palaestra/TMaze-v0", TMaze)
    register_task("palaestra/RepeatPrevious-v0", RepeatPrevious)
