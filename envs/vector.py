"""The contract of stepping: one vector step in, one `EnvStep` out, whichever backend does the stepping."""

from __future__ import annotations

import reprlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import create_empty_array

from ..networks.tree import read_row, tree_map, write_row
from .backends.failure import EnvironmentFailedError, Failure, failed, finite_checker, not_finite

# A copy whose episodes fail this often in a row is hopeless.
MAX_FAILED_IN_A_ROW = 10

NEXT_STEP, SAME_STEP, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED


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
    """What else was said: `{"infos": [...]}`, one dict an environment, or the vector environment's own."""


class Backend(ABC):
    """What steps a batch of environments: the part of `Envs` that differs."""

    name: ClassVar[str]
    num_envs: int
    observation_space: spaces.Space
    action_space: spaces.Space
    autoreset_mode: AutoresetMode
    exact_resume: bool
    metadata: dict[str, Any]
    obs: Any
    """What the environments showed last, `[B, ...]`."""
    seeds: list[int | None]
    """What the running episodes were reset with, where that is known."""
    failures: list[Failure]
    """Copies that failed in the last `step`, whose rows say nothing, or in the last `start` or `restart`."""

    @abstractmethod
    def start(self) -> Any:
        """Begin the first episode everywhere, the same ones each time; returns `obs`."""

    @abstractmethod
    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Return obs, reward (float64), terminated, truncated, info; the arrays are never written again."""

    @abstractmethod
    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`; returns `obs`. Only with auto-reset disabled."""

    @abstractmethod
    def undo(self, obs: Any) -> bool:
        """Let `state_dict` tell of the moment before the last step, when `obs` was shown; False if it cannot."""

    def replace(self, index: int) -> None:
        """Make one copy anew; `restart` follows. Only where `restartable`."""
        raise NotImplementedError

    @abstractmethod
    def render(self, index: int) -> np.ndarray:
        """Picture `[height, width, 3]` of one environment."""

    @abstractmethod
    def close(self) -> None:
        """Release windows, processes and files."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where the environments are."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring them back there; without `exact_resume` begin the episodes after that instead."""


class Envs:
    """`num_envs` copies of an environment, stepped together.

    This is the one place where the auto-reset modes of vector environments are told apart:

    - disabled: where an episode ends, the next one is begun here, in the same call;
    - same step: the backend has begun it already and left the final observation in `info["final_obs"]`;
    - next step: the backend ignores the next action and resets instead; that row comes out as not `valid`.

    A copy that fails, by raising, by returning NaN, or by killing its process, is an `EnvironmentFailedError`. With
    `restart_failed` it is made anew instead: that step comes out with reward 0, what was shown before, and
    `truncated`, and the next episode begins.

    With `clip_reward` steps show the signs of rewards, and episodes the sums of the whole ones.
    """

    def __init__(self, backend: Backend, restart_failed: bool = False, clip_reward: bool = False):
        self._backend = backend
        self._restart_failed = restart_failed
        self._clip_reward = clip_reward
        self._is_finite = finite_checker(create_empty_array(backend.observation_space, n=backend.num_envs))
        self._mode = backend.autoreset_mode
        self._clip = action_clipper(backend.action_space, backend.num_envs)
        self.backend = backend.name
        self.num_envs = backend.num_envs
        self.observation_space = backend.observation_space
        self.action_space = backend.action_space
        self.exact_resume = backend.exact_resume
        self.frames_per_second = int(backend.metadata.get("render_fps") or 30)
        self._begin()

    def _begin(self) -> None:
        self.first = np.ones(self.num_envs, bool)
        # Rows that the next step spends on resetting.
        self._resetting = np.zeros(self.num_envs, bool)
        self._any_resetting = False
        self._returns = np.zeros(self.num_envs)
        # Vector steps so far, and how many there were when each running episode began.
        self._clock = 0
        self._starts = np.zeros(self.num_envs, np.int64)
        self.restarts = 0
        # How many of the latest episodes of each copy have failed in a row.
        self._failed = np.zeros(self.num_envs, np.int64)
        self._failed_at = np.zeros(self.num_envs, np.int64)

    @property
    def resets_in_steps(self) -> bool:
        """Whether rows come that were spent on resetting, marked as not `valid`."""
        return self._mode is NEXT_STEP

    @property
    def obs(self) -> Any:
        """What to act on next, `[B, ...]`."""
        return self._backend.obs

    def reset(self) -> Any:
        """Begin episode 0 everywhere, the same ones each time; returns `obs [B, ...]`."""
        self._begin()
        return self._begun(self._backend.start())

    def begin_next(self) -> Any:
        """Give up the running episodes and begin the next one everywhere; returns `obs [B, ...]`.

        Where the backend resets by itself, that is episode 0 once more.
        """
        if self._mode is not DISABLED:
            return self.reset()
        self._returns, self.first = np.zeros(self.num_envs), np.ones(self.num_envs, bool)
        self._starts = np.full(self.num_envs, self._clock)
        return self._begun(self._backend.restart(self.first))

    def step(self, action: Any) -> EnvStep:
        """Execute actions `[B, ...]`, clipped to the bounds of a Box.

        Raises:
            EnvironmentFailedError: a copy failed.
        """
        before, action = self._backend.obs, self._clip(action)
        try:
            obs, reward, terminated, truncated, info = self._backend.step(action)
        except Exception as error:
            # A vector environment of somebody else's; it does not say which copy it was, nor where it stands now.
            place = f"vector step {self._clock + 1}, actions {reprlib.repr(action)}"
            raise EnvironmentFailedError(f"the environments {failed(error)} ({place})", False) from error
        if self._backend.failures or not self._is_finite(obs, reward):
            obs = self._cope(before, action, obs, reward, terminated, truncated)
        self._clock += 1
        next_obs, valid = obs, None
        resetting = self._resetting
        if self._any_resetting:
            valid = ~resetting
            reward[resetting] = 0.0
            terminated &= valid
            truncated &= valid
        first = done = terminated | truncated
        any_done = bool(np.count_nonzero(done))
        if self._mode is NEXT_STEP:
            first, self._resetting, self._any_resetting = resetting, done, any_done
        before_end = self._clock - 1, self._returns, self._starts
        self._returns = self._returns + reward

        episodes: list[Episode] = []
        if any_done:
            episodes = self._finish(done, terminated)
            if self._mode is SAME_STEP:
                next_obs = with_final_obs(obs, done, info["final_obs"])
                if not self._is_finite(next_obs, reward):
                    self._cope(before, action, next_obs, reward, terminated, truncated)
            elif self._mode is DISABLED:
                obs = self._begun(self._backend.restart(done), lambda: self._undo(before, before_end))
        self.first = first
        if self._clip_reward:
            reward = np.sign(reward)
        return EnvStep(next_obs, reward, terminated, truncated, obs, first, valid, episodes, info)

    def _finish(self, done: np.ndarray, terminated: np.ndarray) -> list[Episode]:
        # Row by row: mostly it is one, for which NumPy's calls cost more than a loop.
        seeds, returns = self._backend.seeds, self._returns
        starts = self._starts = self._starts.copy()
        # The row after a `NEXT_STEP` end belongs to no episode.
        next_start = self._clock + (self._mode is NEXT_STEP)
        episodes = []
        for i in done.nonzero()[0].tolist():
            length = self._clock - int(starts[i])
            episodes.append(Episode(i, seeds[i], float(returns[i]), length, bool(terminated[i])))
            returns[i], starts[i] = 0.0, next_start
        if self.restarts:
            self._failed[done & (self._failed_at != self._clock)] = 0
        return episodes

    def _cope(
        self,
        before: Any,
        action: Any,
        obs: Any,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
    ) -> Any:
        """Stop at what failed in a step, or repair its rows and go on; returns the repaired observations."""
        # A copy: what a backend shows may share its memory with what it has shown before.
        obs = tree_map(np.array, obs)
        raised = self._backend.failures
        known = {failure.env_index for failure in raised}
        # What stands in rows that were spent on resetting is nobody's concern.
        reward[self._resetting] = 0.0
        returned = [failure for failure in not_finite(obs, reward) if failure.env_index not in known]
        for failure in raised + returned:
            i = failure.env_index
            self._failed[i] += 1
            self._failed_at[i] = self._clock + 1
            if not self._restart_failed or failure.fatal or self._failed[i] > MAX_FAILED_IN_A_ROW:
                raise self._stopped(failure, action, self._backend.undo(before))
            warnings.warn(self._message(failure, action) + "; restarted", RuntimeWarning, stacklevel=3)
            self.restarts += 1
            write_row(obs, i, read_row(before, i))
            reward[i], terminated[i], truncated[i] = 0.0, False, True
        for failure in returned:
            self._backend.replace(failure.env_index)
        return obs

    def _undo(self, obs: Any, place: tuple[int, np.ndarray, np.ndarray]) -> bool:
        """Let `state_dict` tell of the moment before a step after which an episode could not be begun."""
        self._clock, self._returns, self._starts = place
        return self._backend.undo(obs)

    def _begun(self, obs: Any, undo: Callable[[], bool] | None = None) -> Any:
        """Look at what `start` or `restart` did; `undo` takes back the step before a `restart`."""
        failures = self._backend.failures
        if not self._is_finite(obs, self._returns):
            failures = failures + [
                failure._replace(in_reset=True, fatal=True) for failure in not_finite(obs, self._returns)
            ]
        for failure in failures:
            if not self._restart_failed or failure.fatal:
                raise self._stopped(failure, None, resumable=undo is not None and undo())
            warnings.warn(self._message(failure, None) + "; restarted", RuntimeWarning, stacklevel=3)
            self.restarts += 1
        return obs

    def _stopped(self, failure: Failure, action: Any, resumable: bool) -> EnvironmentFailedError:
        error = EnvironmentFailedError(self._message(failure, action), resumable)
        error.__cause__ = failure.cause
        return error

    def _message(self, failure: Failure, action: Any) -> str:
        i = failure.env_index
        where = "in reset"
        if not failure.in_reset:
            shown = tree_map(lambda leaf: np.asarray(leaf).tolist(), read_row(action, i))
            where = f"step {self._clock - self._starts[i] + 1}, action {reprlib.repr(shown)}"
        seed = self._backend.seeds[i] if failure.seed is None else failure.seed
        return f"environment {i} {failure.what} (episode seed {seed}, {where})"

    def render(self, index: int = 0) -> np.ndarray:
        """Picture `[height, width, 3]` of one environment; needs `render_mode="rgb_array"`."""
        return self._backend.render(index)

    def close(self) -> None:
        """Release windows, processes and files."""
        self._backend.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything that continues these episodes from here: arrays, numbers, strings, lists and dicts."""
        return {
            "backend": self._backend.state_dict(),
            "first": self.first.copy(),
            "resetting": self._resetting.copy(),
            "returns": self._returns.copy(),
            "lengths": np.maximum(self._clock - self._starts, 0),
            "restarts": self.restarts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there: exactly with `exact_resume`, otherwise with new episodes."""
        self._begin()
        self._backend.load_state_dict(state["backend"])
        self.restarts = state["restarts"]
        if self.exact_resume:
            self.first = np.array(state["first"])
            self._resetting = np.array(state["resetting"])
            self._any_resetting = bool(self._resetting.any())
            self._returns = np.array(state["returns"])
            # Where the next row is spent on resetting, an episode begins after it.
            self._starts = self._resetting - np.array(state["lengths"])


def action_clipper(space: spaces.Space, num_envs: int) -> Callable[[Any], Any]:
    """Return a function that clips actions `[B, ...]` to the bounds of `space` and gives them its dtype."""
    dtype = space.dtype
    match space:
        case spaces.Dict():
            parts = {key: action_clipper(part, num_envs) for key, part in space.items()}
            return lambda action: {key: clip(action[key]) for key, clip in parts.items()}
        case spaces.Tuple():
            clips = [action_clipper(part, num_envs) for part in space]
            return lambda action: tuple(clip(part) for clip, part in zip(clips, action, strict=True))
        case spaces.Box() if np.isfinite(space.low).any() or np.isfinite(space.high).any():
            # Full batches and plain ufuncs: broadcasting and np.clip would take three times as long.
            low, high = (np.repeat(bound[None], num_envs, axis=0) for bound in (space.low, space.high))
            return lambda action: np.asarray(np.minimum(np.maximum(action, low), high), dtype)
    # A copy: environments may keep what they are given, or change it.
    return lambda action: np.array(action, dtype)


def with_final_obs(obs: Any, done: np.ndarray, final_obs: Any) -> Any:
    """Copy `obs [B, ...]` with the rows of ended episodes taken from `final_obs`.

    Gymnasium's vector environments give an object array with one observation an environment, others a batch.
    """
    successor = tree_map(np.array, obs)
    for i in np.flatnonzero(done).tolist():
        write_row(successor, i, read_row(final_obs, i))
    return successor
