"""The `async` backend: single environments in worker processes, their results in shared memory."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.vector.utils import create_empty_array

from ...networks.tree import tree_map, write_rows
from ..machine import usable_cores
from ..seeds import episode_seed
from .action_log import ActionLog, episodes_state, warn_unless_same
from .backend import DISABLED, Backend
from .failure import Failure
from .shared import make_board, send, shares
from .worker_process import WorkerProcess

# How a worker fails to answer.
LOST = (TimeoutError, EOFError, ConnectionError)


def check_platform() -> None:
    """Raise `ValueError` on Windows, where no process can hand an open file to another one."""
    if sys.platform == "win32":
        raise ValueError("backend async cannot be had on Windows; use sync, or the Linux in it (WSL)")


class AsyncBackend(Backend):
    """Steps single environments in processes of their own; the same seeds and the same episodes as `sync`.

    The workers begin the next episode as soon as one has ended. A worker that dies, or is silent for `timeout`
    seconds, is a failure of the copy that it was busy with. With `replace_lost` another one takes its place, and
    its other copies are brought back by replaying their episodes.
    """

    name = "async"
    autoreset_mode = DISABLED

    def __init__(
        self,
        make: Callable[[int], gymnasium.Env],
        num_envs: int,
        seed: int,
        replace_lost: bool = False,
        *,
        workers: int = 0,
        timeout: float = 60.0,
    ):
        check_platform()
        workers = min(num_envs, workers or usable_cores())
        try:
            order = {"make": cloudpickle.dumps(make), "seed": seed}
        except Exception as error:  # of what a program has passed, whatever it holds
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"the environment cannot be sent to worker processes ({what}); use sync"
            ) from error
        self.num_envs = num_envs
        self.seed = seed
        self.replace_lost = replace_lost
        self.workers: list[WorkerProcess] = []
        self.file: Any = None
        try:
            for first, count in shares(num_envs, workers):
                share = {"first": first, "count": count, "num_envs": num_envs}
                self.workers.append(WorkerProcess(order | share, timeout))
            abouts = [worker.about() for worker in self.workers]
            self.observation_space, self.action_space, self.metadata, nondeterministic = abouts[0]
            self.file, self.board = make_board(self.observation_space, self.action_space, num_envs)
        except BaseException:
            self.close()
            raise
        self.exact_resume = not nondeterministic
        for worker in self.workers:
            self._share(worker)
        self.episode = np.full(num_envs, -1)
        self.board.episode[:] = -1
        self.seeds = [None] * num_envs
        self.failures = []
        self.log = ActionLog(self.action_space, num_envs)
        self.obs = create_empty_array(self.observation_space, n=num_envs)

    def _share(self, worker: WorkerProcess) -> None:
        if sys.platform != "win32":
            socket.send_fds(worker.channel, [b"f"], [self.file.fileno()])

    def start(self) -> Any:
        """Begin episode 0 everywhere."""
        self.episode[:] = -1
        return self._begin_all()

    def _begin_all(self) -> Any:
        self.board.episode[:] = self.episode
        return self.restart(np.ones(self.num_envs, bool))

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`: the workers have done so already where one has ended."""
        due = mask & (self.board.episode == self.episode)
        self.episode[mask] += 1
        self.log.forget(mask)
        self.failures = self._begin(due) if due.any() else []

        def merged(before: np.ndarray, begun: np.ndarray) -> np.ndarray:
            obs = before.copy()
            obs[mask] = begun[mask]
            return obs

        self.obs = tree_map(merged, self.obs, self.board.reset_obs)
        for i in np.flatnonzero(mask).tolist():
            self.seeds[i] = episode_seed(self.seed, i, int(self.episode[i]))
        return self.obs

    def _begin(self, due: np.ndarray) -> list[Failure]:
        """Let the workers begin the episodes `self.episode` where `due [B]`."""
        for worker in self.workers:
            rows = np.flatnonzero(due[worker.first : worker.first + worker.count]).tolist()
            # One that has died is noticed when it is asked for its answer.
            with contextlib.suppress(ConnectionError):
                send(worker.channel, b"b", [(row, self.episode[worker.first + row]) for row in rows])
        # A worker begins them one after the other, and notes each before it does.
        return self._answers(lambda: due & (self.board.episode == self.episode))[1]

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment."""
        self.log.add(action)
        board = self.board
        write_rows(board.action, ..., action)
        board.reward.fill(np.nan)
        for worker in self.workers:
            with contextlib.suppress(ConnectionError):
                send(worker.channel, b"s")
        infos, self.failures = self._answers(lambda: board.episode > self.episode)
        for failure in self.failures:
            if failure.in_reset:
                # An episode whose reset takes a process down is not tried again.
                self.episode[failure.env_index] = board.episode[failure.env_index]
        self.obs = tree_map(np.array, board.obs)
        return (
            self.obs,
            board.reward.copy(),
            board.terminated.copy(),
            board.truncated.copy(),
            {"infos": infos},
        )

    def _answers(self, begun: Callable[[], np.ndarray]) -> tuple[list[dict[str, Any]], list[Failure]]:
        """Infos and failures of all workers; `begun()` are the copies `[B]` whose resets were begun in this call."""
        infos: list[dict[str, Any]] = []
        failures: list[Failure] = []
        for number, worker in enumerate(self.workers):
            try:
                reported, failed = worker.receive_report()
            except LOST as error:
                reported, failed = None, [self._lost(worker, error, begun())]
                if self.replace_lost:
                    failed = self._replace_worker(number, failed[0])
            infos += reported or [{}] * worker.count
            failures += failed
        return infos, failures

    def _lost(self, worker: WorkerProcess, error: Exception, begun: np.ndarray) -> Failure:
        """A worker does not answer: a failure of the copy that it was stepping or resetting."""
        worker.lost = True
        what = f"took its worker process down{worker.fate()}"
        if isinstance(error, TimeoutError):
            what = f"took more than {worker.timeout:g} s"
        unstepped = [i for i in worker.indices if np.isnan(self.board.reward[i])]
        resetting = [i for i in worker.indices if begun[i]]
        if unstepped and not resetting:
            return Failure(unstepped[0], what)
        index = resetting[-1] if resetting else worker.first
        seed = episode_seed(self.seed, index, int(self.board.episode[index]))
        return Failure(index, what, in_reset=True, seed=seed)

    def _replace_worker(self, number: int, failure: Failure) -> list[Failure]:
        """Put a new worker in the place of a lost one; all copies but those at fault are replayed to where they are.

        Returns:
            What failed on the way; these copies have to be reset. Of the others the last step is on the board again.
        """
        failures: list[Failure] = []
        while failure.env_index not in {known.env_index for known in failures}:
            failures.append(failure)
            old = self.workers[number]
            old.kill()
            worker = self.workers[number] = WorkerProcess(old.order, old.timeout)
            worker.about()
            self._share(worker)
            if not self.exact_resume or self.log.given_up[list(worker.indices)].any():
                shared = f"shared a worker process with environment {failure.env_index}, which {failure.what}"
                return [failure] + [Failure(i, shared) for i in worker.indices if i != failure.env_index]
            at_fault = [known.env_index for known in failures]
            sound = [i for i in worker.indices if i not in at_fault]
            self.board.reward[sound], self.board.reward[at_fault] = np.nan, 0.0
            self._send_replay(worker, sound)
            try:
                return failures + worker.receive_report()[1]
            except LOST as error:
                failure = self._lost(worker, error, np.zeros(self.num_envs, bool))
        return failures

    def _send_replay(self, worker: WorkerProcess, indices: Iterable[int]) -> None:
        episodes = [(i - worker.first, int(self.episode[i]), self.log.episode(i)) for i in indices]
        send(worker.channel, b"l", episodes)

    def replace(self, index: int) -> None:
        """Make one copy anew."""
        worker = next(worker for worker in self.workers if index in worker.indices)
        send(worker.channel, b"r", index - worker.first)
        worker.receive_report()
        # Its worker may have begun the next episode already, with the old copy.
        self.board.episode[index] = self.episode[index]

    def render(self, index: int) -> np.ndarray:
        """Picture of one environment."""
        worker = next(worker for worker in self.workers if index in worker.indices)
        send(worker.channel, b"v", index - worker.first)
        code, answer = worker.receive()
        if code == b"e":
            raise answer
        frame: Any = answer
        return frame

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.close()
        if self.file is not None:
            self.file.close()

    def state_dict(self) -> dict[str, Any]:
        """The same as that of `sync`, so that a run can go on with either."""
        return episodes_state(self.episode, self.log, self.obs)

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Replay the running episodes, all workers at once; begin those after them where `sync` does."""
        self.episode = np.array(state["episode"])
        if not self.exact_resume or state["log"] is None:
            self._begin_all()
            return False
        self.log.load_state_dict(state["log"])
        for worker in self.workers:
            worker.wait_no_longer_than(0)  # an episode may be long
            self._send_replay(worker, worker.indices)
        for worker in self.workers:
            for failure in worker.receive_report()[1]:
                raise RuntimeError(f"environment {failure.env_index} {failure.what}") from failure.cause
            worker.wait_no_longer_than(worker.timeout)
        self.obs = tree_map(np.array, self.board.obs)
        self.seeds = [episode_seed(self.seed, i, int(self.episode[i])) for i in range(self.num_envs)]
        warn_unless_same(self.obs, state["obs"])
        return True
