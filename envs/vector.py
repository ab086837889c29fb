"""The contract of stepping: one vector step in, one `EnvStep` out, whatever does the stepping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from ..networks.tree import concatenated


class Episode(NamedTuple):
    """A finished episode."""

    env_index: int
    seed: int | None
    """What the episode was reset with; None where the backend cannot be seeded per episode."""
    episode_return: float
    """Sum of the rewards, undiscounted."""
    length: int
    """Steps from reset to end."""
    terminated: bool
    """False where it was only truncated."""
    cut: bool = False
    """Whether it was cut off because it had become too long for whoever made the environments."""


class EnvStep(NamedTuple):
    """One step of all environments; arrays `[B, ...]` that no later step writes into."""

    next_obs: Any
    """The true successor of the action, also where the episode ended."""
    reward: np.ndarray
    """`[B]` float64."""
    terminated: np.ndarray
    """`[B]` bool: the task is over, nothing comes after."""
    truncated: np.ndarray
    """`[B]` bool: cut off from outside, for instance by a time limit."""
    obs: Any
    """What to act on next: `next_obs`, except where a new episode has begun."""
    first: np.ndarray
    """`[B]` bool: this `obs` opens an episode."""
    valid: np.ndarray | None
    """`[B]` bool, False where the backend spent this row on resetting; None when every row is real."""
    episodes: list[Episode]
    """Those that ended in this step."""
    info: dict[str, Any]
    """What else came with it: `{"infos": [...]}`, one dict an environment, or the vector environment's own."""
    failed: tuple[int, ...] = ()
    """Copies that failed in this step and were made anew: their `next_obs` is the observation before it."""


def side_by_side(steps: Sequence[EnvStep]) -> EnvStep:
    """One step of the copies of several environments, as many of each, one after the other; without their infos."""
    next_obs = concatenated([step.next_obs for step in steps])
    same = all(step.obs is step.next_obs for step in steps)
    copies = len(steps[0].reward)
    offsets = [index * copies for index in range(len(steps))]
    valid = None
    if any(step.valid is not None for step in steps):
        valid = np.concatenate(
            [np.ones(copies, bool) if step.valid is None else step.valid for step in steps]
        )
    return EnvStep(
        next_obs=next_obs,
        reward=np.concatenate([step.reward for step in steps]),
        terminated=np.concatenate([step.terminated for step in steps]),
        truncated=np.concatenate([step.truncated for step in steps]),
        obs=next_obs if same else concatenated([step.obs for step in steps]),
        first=np.concatenate([step.first for step in steps]),
        valid=valid,
        episodes=[
            episode._replace(env_index=episode.env_index + offset)
            for step, offset in zip(steps, offsets, strict=True)
            for episode in step.episodes
        ],
        info={},
        failed=tuple(
            index + offset for step, offset in zip(steps, offsets, strict=True) for index in step.failed
        ),
    )


class Envs(ABC):
    """`num_envs` copies of an environment, stepped together; no auto-reset mode shows."""

    backend: str
    """Name of what steps them."""
    num_envs: int
    observation_space: spaces.Space
    action_space: spaces.Space
    exact_resume: bool
    """Whether `load_state_dict` brings running episodes back; otherwise it begins new ones."""
    frames_per_second: int
    """Of videos."""
    resets_in_steps: bool
    """Whether rows come that were spent on resetting, marked as not `valid`."""
    obs: Any
    """What to act on next, `[B, ...]`."""
    first: np.ndarray
    """`[B]` bool: `obs` opens an episode."""
    restarts: int
    """How many copies have failed and were made anew."""

    @abstractmethod
    def reset(self) -> Any:
        """Begin episode 0 everywhere, the same ones each time; returns `obs [B, ...]`."""

    @abstractmethod
    def begin_next(self) -> Any:
        """Give up the running episodes and begin the next one everywhere; returns `obs [B, ...]`.

        Where the backend resets by itself, that is episode 0 once more.
        """

    @abstractmethod
    def step(self, action: Any) -> EnvStep:
        """Execute actions `[B, ...]`, clipped to the bounds of a Box.

        Raises:
            ActionError: an action is no number, or none of a discrete space; nothing was stepped.
            EnvironmentFailedError: a copy failed; these environments cannot be stepped any further.
        """

    @abstractmethod
    def render(self, index: int = 0) -> np.ndarray:
        """Picture `[height, width, 3]` of one environment; needs `render_mode="rgb_array"`.

        Of one whose episode ended in the last step it shows that end, but where the backend has begun the next one.
        """

    @abstractmethod
    def close(self) -> None:
        """Release windows, processes and files."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that continues these episodes from here: arrays, numbers, strings, lists and dicts."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Continue from there: exactly, or with new episodes everywhere; returns which.

        It is exact with `exact_resume`, unless an episode had gone on for too long to be replayed.
        """
