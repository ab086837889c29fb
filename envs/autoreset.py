"""Environments that a backend steps: auto-reset modes and failures end here."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector.utils import create_empty_array

from ..networks.tree import read_row, row_writer, tree_map, write_rows
from .actions import action_clipper
from .backends.backend import DISABLED, NEXT_STEP, SAME_STEP, Backend
from .backends.failure import (
    EnvironmentFailedError,
    Failure,
    failed,
    failure_of,
    finite_checker,
    in_range,
    not_sound,
    ranges_of,
)
from .backends.torch_settings import KeepTorchSettings
from .vector import Envs, EnvStep, Episode

# A copy that fails this often in a row, in its episodes or in beginning them, is hopeless.
MAX_FAILED_IN_A_ROW = 10


class BackendEnvs(Envs):
    """`num_envs` copies of an environment, stepped together.

    This is the one place where the auto-reset modes of vector environments are told apart:

    - disabled: where an episode ends, the next one is begun here, in the same call;
    - same step: the backend has begun it already and left the final observation in `info["final_obs"]`;
    - next step: the backend ignores the next action and resets instead; that row comes out as not `valid`.

    A copy that fails, by raising, by returning NaN, or by killing its process, is an `EnvironmentFailedError`, after
    which nothing can be stepped any further. With `restart_failed` it is made anew instead: that step comes out with
    reward 0, the observation before it, and `truncated`, and the next episode begins; the broken one is none of the
    finished `episodes`.

    With `max_steps`, an episode is cut off after so many: it is `truncated`, and the next one begins. A backend that
    resets by itself cannot be told to; there the episode goes on, and counts as the next one from here on.

    With `draws`, the picture of a copy whose episode ended in the last step shows that end, where the reset is ours.
    """

    def __init__(
        self,
        backend: Backend,
        restart_failed: bool = False,
        max_steps: int | None = None,
        draws: bool = False,
    ):
        self._backend = backend
        self._restart_failed = restart_failed
        self._max_steps = max_steps
        self._draws = draws
        self._write_obs = row_writer(backend.observation_space)
        self._ranges = ranges_of(backend.observation_space)
        self._is_finite = finite_checker(create_empty_array(backend.observation_space, n=backend.num_envs))
        self._mode = backend.autoreset_mode
        self._clip = action_clipper(backend.action_space, backend.num_envs)
        self.resets_in_steps = self._mode is NEXT_STEP
        self.backend = backend.name
        self.num_envs = backend.num_envs
        self.observation_space = backend.observation_space
        self.action_space = backend.action_space
        self.exact_resume = backend.exact_resume
        self.frames_per_second = int((backend.metadata or {}).get("render_fps") or 30)
        self._begin()

    def _begin(self) -> None:
        # Pictures of the ends of the last step, by copy.
        self._ends: dict[int, np.ndarray] = {}
        self.first = np.ones(self.num_envs, bool)
        # Rows that the next step spends on resetting.
        self._resetting = np.zeros(self.num_envs, bool)
        self._any_resetting = False
        self._returns = np.zeros(self.num_envs)
        # Vector steps so far, and how many there were when each running episode began.
        self._clock = 0
        self._starts = np.zeros(self.num_envs, np.int64)
        self.restarts = 0
        # How often each copy has failed since it last came to the end of an episode.
        self._failed = np.zeros(self.num_envs, np.int64)

    def _is_sound(self, obs: Any, reward: np.ndarray) -> bool:
        return self._is_finite(obs, reward) and (not self._ranges or in_range(obs, self._ranges))

    @property
    def obs(self) -> Any:  # type: ignore[override]
        """What to act on next, `[B, ...]`."""
        return self._backend.obs

    def reset(self) -> Any:
        """Begin episode 0 everywhere, the same ones each time; returns `obs [B, ...]`."""
        self._begin()
        return self._begun(self._guarded(self._backend.start, "in reset"))

    def begin_next(self) -> Any:
        """Give up the running episodes and begin the next one everywhere; returns `obs [B, ...]`.

        Where the backend resets by itself, that is episode 0 once more.
        """
        if self._mode is not DISABLED:
            return self.reset()
        self._ends = {}
        self._returns, self.first = np.zeros(self.num_envs), np.ones(self.num_envs, bool)
        self._starts = np.full(self.num_envs, self._clock)
        return self._begun(self._restart(self.first))

    def step(self, action: Any) -> EnvStep:
        """Execute actions `[B, ...]`, clipped to the bounds of a Box."""
        before, action = self._backend.obs, self._clip(action)
        try:
            with KeepTorchSettings():
                obs, reward, terminated, truncated, info = self._backend.step(action)
        except Exception as error:
            raise self._all_failed(
                error, f"vector step {self._clock + 1}, actions {reprlib.repr(action)}"
            ) from error
        failures: list[Failure] = []
        if self._backend.failures or not self._is_sound(obs, reward):
            failures = self._failures_of_step(obs, reward)
            obs = self._repair(failures, before, action, obs, reward, terminated, truncated)
        next_obs, valid = obs, None
        if self._mode is SAME_STEP and np.count_nonzero(terminated | truncated):
            if "final_obs" not in info:
                raise EnvironmentFailedError(
                    "the environments reset themselves in the step that ends an episode, and leave no 'final_obs' in "
                    f"their info (vector step {self._clock + 1})"
                )
            next_obs = self._with_final_obs(obs, terminated | truncated, info["final_obs"], action)
            for failure in self._failures_of_begin(next_obs, np.zeros(self.num_envs)):
                raise self._stopped(failure._replace(in_reset=False), action)
        self._clock += 1
        resetting = self._resetting
        if self._any_resetting:
            valid = ~resetting
            reward[resetting] = 0.0
            terminated &= valid
            truncated &= valid
        cut = self._cut(terminated, truncated)
        first = done = terminated | truncated
        any_done = bool(np.count_nonzero(done))
        if self._mode is NEXT_STEP:
            first, self._resetting, self._any_resetting = resetting, done, any_done
        self._returns = self._returns + reward

        episodes: list[Episode] = []
        self._ends = {}
        if any_done:
            episodes = self._finish(done, terminated, failures, cut)
            if self._mode is DISABLED:
                if self._draws:
                    self._ends = {e.env_index: self.render(e.env_index) for e in episodes}
                obs = self._begun(self._restart(done))
        if cut is not None and self._mode is not DISABLED:
            episodes += self._finish(cut & ~done, terminated, failures, cut)
        self.first = first
        restarted = tuple(failure.env_index for failure in failures) if failures else ()
        return EnvStep(next_obs, reward, terminated, truncated, obs, first, valid, episodes, info, restarted)

    def _cut(self, terminated: np.ndarray, truncated: np.ndarray) -> np.ndarray | None:
        """Where an episode has become too long `[B]`, truncated where it can be; None where none has."""
        if self._max_steps is None:
            return None
        cut = (self._clock - self._starts >= self._max_steps) & ~(terminated | truncated)
        if not np.count_nonzero(cut):
            return None
        if self._mode is DISABLED:
            truncated |= cut
        return cut

    def _finish(
        self, done: np.ndarray, terminated: np.ndarray, failures: list[Failure], cut: np.ndarray | None
    ) -> list[Episode]:
        # Row by row: mostly it is one, for which NumPy's calls cost more than a loop.
        seeds, returns = self._backend.seeds, self._returns
        starts = self._starts = self._starts.copy()
        episodes, broken = [], {failure.env_index for failure in failures}
        for i in done.nonzero()[0].tolist():
            length, too_long = self._clock - int(starts[i]), cut is not None and bool(cut[i])
            if i not in broken:
                episodes.append(
                    Episode(i, seeds[i], float(returns[i]), length, bool(terminated[i]), too_long)
                )
            returns[i] = 0.0
            # The row after a `NEXT_STEP` end belongs to no episode.
            starts[i] = self._clock + (self._mode is NEXT_STEP and not too_long)
        if self.restarts:
            sound = done.copy()
            sound[list(broken)] = False
            self._failed[sound] = 0
        return episodes

    def _with_final_obs(self, obs: Any, done: np.ndarray, final_obs: Any, action: Any) -> Any:
        """Copy `obs [B, ...]` with the rows of ended episodes taken from `final_obs`.

        Gymnasium's vector environments give an object array with one observation an environment, others a batch.
        """
        successor = tree_map(np.array, obs)
        for i in np.flatnonzero(done).tolist():
            try:
                self._write_obs(successor, i, read_row(final_obs, i))
            except ValueError as error:
                raise self._stopped(Failure(i, f"returned {error}"), action) from error
        return successor

    def _failures_of_step(self, obs: Any, reward: np.ndarray) -> list[Failure]:
        """Which copies raised or returned what no agent can learn from, each once."""
        raised = self._backend.failures
        known = {failure.env_index for failure in raised}
        # What stands in rows that were spent on resetting is nobody's concern.
        reward[self._resetting] = 0.0
        return raised + [
            failure for failure in not_sound(obs, reward, self._ranges) if failure.env_index not in known
        ]

    def _repair(
        self,
        failures: list[Failure],
        before: Any,
        action: Any,
        obs: Any,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
    ) -> Any:
        """Make the copies anew that failed in a step, or stop; returns the observations, in which they did nothing."""
        # A copy: what a backend returns may share its memory with what it has returned before.
        obs = tree_map(np.array, obs)
        for failure in failures:
            self._replace(failure, action)
            i = failure.env_index
            write_rows(obs, i, read_row(before, i))
            reward[i], terminated[i], truncated[i] = 0.0, False, True
        return obs

    def _begun(self, obs: Any) -> Any:
        """Check the first observations that `start` or `restart` returned; where one failed, try the episode after."""
        no_reward = np.zeros(self.num_envs)
        while failures := self._backend.failures or self._failures_of_begin(obs, no_reward):
            mask = np.zeros(self.num_envs, bool)
            for failure in failures:
                self._replace(failure, None)
                mask[failure.env_index] = True
            obs = self._restart(mask)
        return obs

    def _restart(self, mask: np.ndarray) -> Any:
        return self._guarded(lambda: self._backend.restart(mask), f"in reset, vector step {self._clock}")

    def _guarded(self, begin: Callable[[], Any], position: str) -> Any:
        """Begin episodes; whatever is raised there is the environments' failure."""
        try:
            with KeepTorchSettings():
                return begin()
        except Exception as error:
            raise self._all_failed(error, position) from error

    def _all_failed(self, error: Exception, position: str) -> EnvironmentFailedError:
        """What to raise for a vector environment of somebody else's, which does not say which copy it was."""
        return EnvironmentFailedError(f"the environments {failed(error)} ({position})")

    def _failures_of_begin(self, obs: Any, no_reward: np.ndarray) -> list[Failure]:
        if self._is_sound(obs, no_reward):
            return []
        return [failure._replace(in_reset=True) for failure in not_sound(obs, no_reward, self._ranges)]

    def _replace(self, failure: Failure, action: Any) -> None:
        """Make a failed copy anew, if that is wanted and promising; raise otherwise."""
        i = failure.env_index
        self._failed[i] += 1
        if not self._restart_failed or self._failed[i] > MAX_FAILED_IN_A_ROW:
            raise self._stopped(failure, action)
        warnings.warn(self._message(failure, action) + "; restarted", RuntimeWarning, stacklevel=4)
        self.restarts += 1
        try:
            with KeepTorchSettings():
                self._backend.replace(i)
        except (ValueError, OSError, EOFError) as error:
            what = str(error) or "its worker process has ended"
            raise EnvironmentFailedError(f"environment {i} cannot be made anew: {what}") from None

    def _stopped(self, failure: Failure, action: Any) -> EnvironmentFailedError:
        error = EnvironmentFailedError(self._message(failure, action))
        error.__cause__ = failure.cause
        return error

    def _message(self, failure: Failure, action: Any) -> str:
        i = failure.env_index
        where = "in reset"
        if not failure.in_reset:
            values = tree_map(lambda leaf: np.asarray(leaf).tolist(), read_row(action, i))
            where = f"step {self._clock - self._starts[i] + 1}, action {reprlib.repr(values)}"
        seed = self._backend.seeds[i] if failure.seed is None else failure.seed
        return f"environment {i} {failure.what} (episode seed {seed}, {where})"

    def render(self, index: int = 0) -> np.ndarray:
        """Picture `[height, width, 3]` of one environment; needs `render_mode="rgb_array"`."""
        if index in self._ends:
            return self._ends[index]
        try:
            return self._backend.render(index)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            failure = failure_of(index, error)
            stopped = EnvironmentFailedError(f"environment {index} {failure.what} (in render)")
            raise stopped from failure.cause

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

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Continue from there, exactly or with new episodes everywhere; returns which."""
        self._begin()
        with KeepTorchSettings():
            exact = self._backend.load_state_dict(state["backend"])
        self.restarts = state["restarts"]
        if exact:
            self.first = np.array(state["first"])
            self._resetting = np.array(state["resetting"])
            self._any_resetting = bool(self._resetting.any())
            self._returns = np.array(state["returns"])
            # Where the next row is spent on resetting, an episode begins after it.
            self._starts = self._resetting - np.array(state["lengths"])
        return exact
