"""Catch: the smallest task for eyes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from .task import Outcome, Task, at_least, register_task


@dataclass(frozen=True)
class Catch(Task):
    """Catch a ball that falls from the top of a board with a paddle at its bottom.

    Observations: a picture `[height * pixels, width * pixels, 1]` uint8, ball and paddle 255 and all else 0; with
    `flat` the vector `[height * width]` of zeros and ones, float32.
    Actions: 0 left, 1 stay, 2 right.
    Reward: in the last step 1 if the ball was caught, otherwise -1. Random play has -0.6, the best is 1; standing
    still has -0.6 as well. The rate of success is `(1 + return) / 2`.
    Episodes have `height - 1` steps and end by termination.
    Source: bsuite (Osband et al. 2020, arXiv:1908.03568), after Mnih et al. 2014.
    """

    height: int = 10
    """Cells from top to bottom."""
    width: int = 5
    """Cells from left to right."""
    pixels: int = 1
    """Side of a cell in the picture."""
    flat: bool = False
    """Show a vector instead of a picture."""

    def __post_init__(self) -> None:
        at_least(height=(self.height, 2), width=(self.width, 1), pixels=(self.pixels, 1))

    @property
    def observation_space(self) -> spaces.Box:
        """Picture or vector."""
        if self.flat:
            return spaces.Box(0, 1, (self.height * self.width,), np.float32)
        return spaces.Box(0, 255, (self.height * self.pixels, self.width * self.pixels, 1), np.uint8)

    @property
    def action_space(self) -> spaces.Discrete:
        """Left, stay, right."""
        return spaces.Discrete(3)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """World: column of the ball, its row, column of the paddle."""
        return np.array([generator.integers(self.width), 0, self.width // 2])

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """The board."""
        if self.flat:
            return self._board(worlds).reshape(len(worlds), -1).astype(np.float32)
        picture = self._board(worlds).astype(np.uint8) * 255
        if self.pixels > 1:
            picture = picture.repeat(self.pixels, axis=1).repeat(self.pixels, axis=2)
        return picture[..., None]

    def _board(self, worlds: np.ndarray) -> np.ndarray:
        board = np.zeros((len(worlds), self.height, self.width), bool)
        index, (ball, row, paddle) = np.arange(len(worlds)), worlds.T
        board[index, row, ball] = True
        board[index, -1, paddle] = True
        return board

    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """Move the paddle, let the ball fall."""
        ball, row, paddle = worlds.T
        paddle[:] = np.clip(paddle + action - 1, 0, self.width - 1)
        row += 1
        landed = row == self.height - 1
        reward = np.where(landed, np.where(ball == paddle, 1.0, -1.0), 0.0)
        return Outcome(reward, landed, np.zeros_like(landed))

    def picture(self, worlds: np.ndarray) -> np.ndarray:
        """The board, one pixel a cell."""
        return self._board(worlds).astype(np.uint8) * 255


def register_catch() -> None:
    """Make it known to Gymnasium."""
    register_task("palaestra/Catch-v0", Catch)
