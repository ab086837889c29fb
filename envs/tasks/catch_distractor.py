"""Catch before a moving background: what an encoder should learn to look past."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from .catch import Catch
from .task import Outcome, Task, at_least, register_task

# Numbers of a world of Catch; then, for each wave, frequency down and across, speed and phase.
CATCH, WAVE = 3, 4


@dataclass(frozen=True)
class CatchDistractor(Task):
    """Catch before waves of grey that move across the board and have nothing to do with the game.

    Observations: a picture `[height * pixels, width * pixels, 1]` uint8; ball and paddle 255, the background between
    0 and `brightness`. Each episode draws its waves anew: where they go and how fast.
    Actions, reward and episodes: those of Catch. Random play has about -0.85, the best is 1.
    Source: Catch as in bsuite (Osband et al. 2020, arXiv:1908.03568); backgrounds that move, as in the Distracting
    Control Suite (Stone et al. 2021, arXiv:2101.02722).
    """

    height: int = 10
    """Cells from top to bottom."""
    width: int = 10
    """Cells from left to right."""
    waves: int = 3
    """Waves in the background; 0 is none."""
    brightness: int = 200
    """Largest value of the background, of 255."""
    pixels: int = 1
    """Side of a cell in the picture."""

    def __post_init__(self) -> None:
        at_least(
            height=(self.height, 2),
            width=(self.width, 1),
            waves=(self.waves, 0),
            brightness=(self.brightness, 0),
            pixels=(self.pixels, 1),
        )
        if self.brightness > 255:
            raise ValueError(f"brightness must be at most 255, got {self.brightness}")

    @property
    def catch(self) -> Catch:
        """The game in the foreground."""
        return Catch(self.height, self.width, self.pixels)

    @property
    def observation_space(self) -> spaces.Box:
        """Pictures."""
        return self.catch.observation_space

    @property
    def action_space(self) -> spaces.Discrete:
        """Left, stay, right."""
        return self.catch.action_space

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """World: that of Catch, then the waves."""
        low, high = [-1.0, -1.0, -1.5, 0.0], [1.0, 1.0, 1.5, 2 * np.pi]
        return np.concatenate(
            [self.catch.draw(generator), generator.uniform(low, high, (self.waves, WAVE)).ravel()]
        ).astype(np.float64)

    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """The board before the background."""
        game = self.catch.observe(worlds[:, :CATCH].astype(np.int64))
        return np.where(game > 0, game, self._background(worlds, self.pixels)[..., None])

    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """Catch goes on; the waves move with its row, which counts the steps."""
        return self.catch.step(worlds[:, :CATCH], action)

    def state(self, worlds: np.ndarray) -> np.ndarray:
        """That of the game."""
        return worlds[:, :CATCH].copy()

    def picture(self, worlds: np.ndarray) -> np.ndarray:
        """The board, one pixel a cell."""
        game = self.catch.picture(worlds[:, :CATCH].astype(np.int64))
        return np.where(game > 0, game, self._background(worlds, 1))

    def _background(self, worlds: np.ndarray, pixels: int) -> np.ndarray:
        """Mean of the waves `[B, height * pixels, width * pixels]` uint8, stretched to the whole range."""
        rows = np.arange(self.height * pixels)[:, None] / pixels
        columns = np.arange(self.width * pixels) / pixels
        if not self.waves:
            return np.zeros((len(worlds), len(rows), len(columns)), np.uint8)
        time = worlds[:, 1, None, None, None]
        numbers = worlds[:, CATCH:].reshape(len(worlds), self.waves, WAVE, 1, 1)
        down, across, speed, phase = numbers.transpose(2, 0, 1, 3, 4)
        waves = np.sin(down * rows + across * columns + speed * time + phase).mean(1)
        return np.round((waves + 1) / 2 * self.brightness).astype(np.uint8)


def register_catch_distractor() -> None:
    """Make it known to Gymnasium."""
    register_task("palaestra/CatchDistractor-v0", CatchDistractor)
