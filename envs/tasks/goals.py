"""Goal environments: rewards that random play hardly ever gets, and whatever was achieved instead could be the goal."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .task import at_least

Obs = dict[str, np.ndarray]


class GoalEnv(gymnasium.Env):
    """Shows `observation`, `achieved_goal` and `desired_goal`; -1 a step until the goal is reached, which ends it."""

    def __init__(self, goal_space: spaces.Box):
        self.observation_space = spaces.Dict(
            achieved_goal=goal_space, desired_goal=goal_space, observation=goal_space
        )
        self.state = self.goal = np.zeros(goal_space.shape, goal_space.dtype)

    @abstractmethod
    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """State and goal at the beginning of an episode."""

    @abstractmethod
    def move(self, action: Any) -> np.ndarray:
        """The next state."""

    @abstractmethod
    def reached(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Booleans `[...]`: whether goals `[..., D]` are reached."""

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> Any:
        """0 where the goal is reached, otherwise -1; `[...]` for goals `[..., D]`."""
        return np.where(self.reached(achieved, desired), 0.0, -1.0)

    def compute_terminated(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> Any:
        """Where the goal is reached."""
        return self.reached(achieved, desired)

    def _obs(self) -> Obs:
        return {
            "achieved_goal": self.state.copy(),
            "desired_goal": self.goal.copy(),
            "observation": self.state.copy(),
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.state, self.goal = self.draw()
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Move on."""
        self.state = self.move(action)
        success = bool(self.reached(self.state, self.goal))
        return self._obs(), 0.0 if success else -1.0, success, False, {"is_success": success}


class BitFlip(GoalEnv):
    """Turn some bits into others, by flipping one in each step.

    Observations: the bits, and those wanted, `[bits]` each, float32. Actions: which bit to flip.
    Reward: -1, but 0 in the step that reaches the goal, which ends the episode; an episode in which the goal was
    reached has a return above `-bits`. Episodes are cut off after `bits` steps. Best: about `1 - bits / 2`.
    Source: Andrychowicz et al. 2017 (arXiv:1707.01495), section 3.1.
    """

    def __init__(self, bits: int = 10):
        at_least(bits=(bits, 1))
        super().__init__(spaces.Box(0, 1, (bits,), np.float32))
        self.action_space = spaces.Discrete(bits)
        self.bits, self.time = bits, 0

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """Random bits, and others as goal."""
        self.time = 0
        state = self.np_random.integers(0, 2, self.bits)
        # At least one is to be flipped.
        flips = self.np_random.integers(0, 2, self.bits)
        flips[self.np_random.integers(self.bits)] = 1
        return state.astype(np.float32), (state ^ flips).astype(np.float32)

    def move(self, action: Any) -> np.ndarray:
        """Flip one bit."""
        state = self.state.copy()
        state[action] = 1 - state[action]
        return state

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Move on; there are as many steps as bits."""
        obs, reward, terminated, _, info = super().step(action)
        self.time += 1
        return obs, reward, terminated, self.time >= self.bits and not terminated, info

    def reached(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """All bits are equal."""
        return (achieved == desired).all(-1)


class PointReach(GoalEnv):
    """Move a point to a place in a square.

    Observations: the point, and where it is wanted, `[2]` each, float32 in [-1, 1]. Actions: the move, two numbers in
    [-1, 1], of which 1 is 0.05.
    Reward: -1, but 0 in the step that comes within 0.05 of the goal, which ends the episode. Episodes are cut off after
    50 steps: one in which the goal was reached has a return above -50. Best: about -12.
    """

    SPEED = 0.05
    REACH = 0.05

    def __init__(self) -> None:
        super().__init__(spaces.Box(-1, 1, (2,), np.float32))
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """The point begins in the middle, with a goal anywhere."""
        return np.zeros(2, np.float32), self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def move(self, action: Any) -> np.ndarray:
        """The walls hold."""
        return np.clip(self.state + self.SPEED * np.asarray(action), -1, 1).astype(np.float32)

    def reached(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Near enough."""
        return np.linalg.norm(achieved - desired, axis=-1) < self.REACH


def register_goals() -> None:
    """Make them known to Gymnasium."""
    gymnasium.register("palaestra/BitFlip-v0", f"{__name__}:BitFlip")
    gymnasium.register("palaestra/PointReach-v0", f"{__name__}:PointReach", max_episode_steps=50)
