"""A corridor: the worked example of an environment of your own (docs/plug-in.md explains it line by line).

The agent starts at the left end and is paid for reaching the right one; every step costs a little. In each
episode a coin may lie at the left end, so that the shortest way is not always the best.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

LEFT, RIGHT = 0, 1
PIXELS = 20


class Corridor(gymnasium.Env):
    """`size` cells in a row. Observation `[2]`: place in [0, 1], whether the coin is still there."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, size: int = 7, render_mode: str | None = None):
        if size < 3:
            raise ValueError(f"size must be at least 3, got {size}")
        self.size = size
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.place, self.coin = 0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: one cell from the left end, with a coin there every other time."""
        super().reset(seed=seed)  # makes self.np_random; draw from nothing else
        self.place = 1
        self.coin = bool(self.np_random.random() < 0.5)
        return self._obs(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move by one cell."""
        self.place = max(0, self.place - 1) if action == LEFT else self.place + 1
        reward = -0.01
        if self.place == 0 and self.coin:
            self.coin, reward = False, 0.5
        terminated = self.place == self.size - 1  # the task is over: nothing comes after
        if terminated:
            reward = 1.0
        # The time limit is not ours: it is given when registering, and shows as `truncated`.
        return self._obs(), reward, terminated, False, {}

    def _obs(self) -> np.ndarray:
        return np.array([self.place / (self.size - 1), self.coin], np.float32)

    def render(self) -> np.ndarray:  # type: ignore[override]
        """Picture `[height, width, 3]`, for videos."""
        cells = np.full((1, self.size, 3), 230, np.uint8)
        cells[0, 0] = (240, 200, 0) if self.coin else (230, 230, 230)
        cells[0, -1] = (0, 160, 80)
        cells[0, self.place] = (40, 80, 200)
        return cells.repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)


def register_corridor() -> None:
    """Make it known to Gymnasium, with a time limit, as the end of a file of your own would."""
    gymnasium.register(
        "palaestra/Corridor-v0", "palaestra.envs.tasks.corridor:Corridor", max_episode_steps=100
    )
