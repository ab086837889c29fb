"""Small worlds in NumPy: one description of a task makes the single environment and the vector environment."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class Outcome(NamedTuple):
    """What one step led to."""

    reward: np.ndarray
    """`[B]` float64."""
    terminated: np.ndarray
    """`[B]` bool."""
    truncated: np.ndarray
    """`[B]` bool: the task's own limit; others are put around it when the environment is made."""


class Task(ABC):
    """A world whose copies are the rows of one array, `worlds [B, K]`.

    Concrete tasks are frozen dataclasses, so their fields are the arguments of the environment. `draw` draws all that
    is random in an episode; what follows depends on the actions alone.
    """

    frames_per_second: ClassVar[int] = 15

    @property
    @abstractmethod
    def observation_space(self) -> spaces.Space:
        """Space of one observation."""

    @property
    @abstractmethod
    def action_space(self) -> spaces.Space:
        """Space of one action."""

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """World `[K]` at the beginning of an episode."""

    @abstractmethod
    def observe(self, worlds: np.ndarray) -> np.ndarray:
        """Observations `[B, ...]` of worlds `[B, K]`; new arrays, of the space's dtype."""

    @abstractmethod
    def step(self, worlds: np.ndarray, action: np.ndarray) -> Outcome:
        """Move worlds `[B, K]` on in place, under actions `[B, ...]`."""

    def state(self, worlds: np.ndarray) -> np.ndarray:
        """Numbers `[B, S]` that say all about worlds `[B, K]`: what an observation could at best tell."""
        return worlds.copy()

    def mode(self, obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> np.ndarray | None:
        """By which of several ways steps `[N, ...]` went, -1 or 1, or between them, 0; None where there is one way."""
        return None

    def picture(self, worlds: np.ndarray) -> np.ndarray | None:
        """Grey pictures `[B, height, width]` uint8, for videos; None where there is nothing to see."""
        return None


class TaskEnv(gymnasium.Env):
    """One copy of a task."""

    def __init__(self, task: Task, render_mode: str | None = None):
        self.task = task
        self.render_mode = render_mode
        self.observation_space, self.action_space = task.observation_space, task.action_space
        self.worlds = task.draw(np.random.default_rng(0))[None]
        self.metadata = {
            "render_modes": [] if task.picture(self.worlds) is None else ["rgb_array"],
            "render_fps": task.frames_per_second,
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.worlds = self.task.draw(self.np_random)[None]
        return self.task.observe(self.worlds)[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move on."""
        reward, terminated, truncated = self.task.step(self.worlds, np.asarray(action)[None])
        obs = self.task.observe(self.worlds)[0]
        return obs, float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> Any:
        """Picture `[height, width, 3]`."""
        return colored(self.task.picture(self.worlds))[0]


class TaskVectorEnv(VectorEnv):
    """Many copies of a task, stepped by the same lines as one.

    Everything that changes is a plain array, so that a checkpoint can hold it (`snapshot.py`).
    """

    def __init__(
        self,
        task: Task,
        num_envs: int,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ):
        self.task = task
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        self.single_observation_space = task.observation_space
        self.single_action_space = task.action_space
        self.observation_space = batch_space(task.observation_space, num_envs)
        self.action_space = batch_space(task.action_space, num_envs)
        self.worlds = np.stack([task.draw(np.random.default_rng(0))] * num_envs)
        self.time = np.zeros(num_envs, np.int64)
        self.metadata = {
            "autoreset_mode": AutoresetMode.DISABLED,
            "render_modes": [] if task.picture(self.worlds) is None else ["rgb_array"],
            "render_fps": task.frames_per_second,
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin episodes everywhere, or where `options["reset_mask"]` says so."""
        super().reset(seed=seed)
        mask = (options or {}).get("reset_mask")
        for index in range(self.num_envs) if mask is None else np.flatnonzero(mask):
            self.worlds[index] = self.task.draw(self.generator_of(int(index)))
            self.time[index] = 0
        return self.task.observe(self.worlds), {}

    def generator_of(self, index: int) -> np.random.Generator:
        """What draws the beginning of a copy's episode."""
        return self.np_random

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move all copies on."""
        reward, terminated, truncated = self.task.step(self.worlds, np.asarray(actions))
        self.time += 1
        if self.max_episode_steps is not None:
            truncated = truncated | (self.time >= self.max_episode_steps)
        return self.task.observe(self.worlds), reward, terminated, truncated, {}

    def render(self) -> Any:
        """Pictures, one `[height, width, 3]` a copy."""
        return tuple(colored(self.task.picture(self.worlds)))


def colored(pictures: np.ndarray | None, least: int = 256) -> np.ndarray:
    """Grey pictures `[B, H, W]` as `[B, H', W', 3]`, enlarged to at least `least` pixels of height."""
    assert pictures is not None, "this environment has no pictures"
    times = -(-least // pictures.shape[1])
    large = pictures.repeat(times, axis=1).repeat(times, axis=2)
    return np.repeat(large[..., None], 3, axis=-1)


def register_task(env_id: str, task: type[Task], max_episode_steps: int | None = None, **kwargs: Any) -> None:
    """Make a task known to Gymnasium, as a single and as a vector environment; `kwargs` are fields that it sets."""
    gymnasium.register(
        env_id,
        _maker(task, kwargs, lambda made, **rest: TaskEnv(made, **rest), ("render_mode",)),
        max_episode_steps=max_episode_steps,
        vector_entry_point=_maker(
            task,
            kwargs,
            lambda made, **rest: TaskVectorEnv(made, **rest),
            ("num_envs", "max_episode_steps", "render_mode"),
        ),
    )


def _maker(
    task: type[Task], fixed: dict[str, Any], build: Callable[..., Any], arguments: tuple[str, ...]
) -> Callable[..., Any]:
    """Return a function from arguments of the environment and fields of the task to an environment."""

    def make(**given: Any) -> Any:
        rest = {name: given.pop(name) for name in arguments if name in given}
        return build(task(**fixed, **given), **rest)

    # What error messages offer as arguments.
    names = [item.name for item in dataclasses.fields(task) if item.name not in fixed]  # type: ignore[arg-type]
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in (*names, *arguments)]
    make.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    make.__module__, make.__qualname__ = task.__module__, task.__qualname__
    return make


def at_least(**values: tuple[int, int]) -> None:
    """Raise `ValueError` unless each `name=(value, least)` holds."""
    for name, (value, least) in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
