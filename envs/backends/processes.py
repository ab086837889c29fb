"""The `async` backend: single environments in worker processes, their results in shared memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.vector.utils import create_empty_array

from ...networks.tree import tree_leaves, tree_map
from ..seeds import episode_seed
from ..vector import DISABLED, Backend
from .action_log import ActionLog
from .failure import Failure, RemoteError
from .in_process import episodes_state, warn_unless_same
from .shared import Board, board_file, map_board, receive, send, shares

# A process is started by name and not forked: it inherits no locks, no threads and no GPU of this one.
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "import palaestra.envs.backends.worker as w; w.main({})"
)


class Worker:
    """A process with some of the copies."""

    def __init__(self, order: dict[str, Any], timeout: float):
        self.order = order
        self.first, self.count = order["first"], order["count"]
        self.timeout = timeout
        self.lost = False
        """Whether it did not answer, so that it is no use to wait for it."""
        self.channel, other = socket.socketpair()
        with other:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START.format(other.fileno()), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                # One core a worker is the point.
                env={"OMP_NUM_THREADS": "1", **os.environ},
            )
        send(self.channel, b"o", order)

    def about(self) -> tuple[Any, ...]:
        """Spaces, metadata and determinism of its environment; what went wrong in making it is raised."""
        try:
            code, content = receive(self.channel)
        except (EOFError, ConnectionError):
            raise RuntimeError(
                f"a worker process ended while it made its environments{self.fate()}"
            ) from None
        if code == b"e":
            error, text = content
            raise error from RemoteError("\n" + text)
        self.channel.settimeout(self.timeout or None)
        return cloudpickle.loads(content)

    def fate(self) -> str:
        """How the process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(1)
            return f" ({signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"
        return ""

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Let the process close its environments and end."""
        if self.lost:
            self.kill()
            return
        with contextlib.suppress(OSError):
            send(self.channel, b"x")
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.channel.close()


class AsyncBackend(Backend):
    """Steps single environments in processes of their own; the same seeds and the same episodes as `sync`.

    The workers begin the next episode as soon as one has ended. A worker that dies, or is silent for `timeout`
    seconds, is known by the copy that it was busy with. With `replace_failed` another one takes its place, and
    its other copies are brought back by replaying their episodes.
    """

    name = "async"
    autoreset_mode = DISABLED

    def __init__(
        self,
        make: Callable[[int], gymnasium.Env],
        num_envs: int,
        seed: int,
        replace_failed: bool = False,
        *,
        workers: int = 0,
        timeout: float = 60.0,
    ):
        workers = min(num_envs, workers or usable_cores())
        order = {"make": cloudpickle.dumps(make), "seed": seed, "replace_failed": replace_failed}
        self.num_envs = num_envs
        self.seed = seed
        self.replace_failed = replace_failed
        self.workers: list[Worker] = []
        self.file = board_file()
        try:
            for first, count in shares(num_envs, workers):
                share = {"first": first, "count": count, "num_envs": num_envs}
                self.workers.append(Worker(order | share, timeout))
            abouts = [worker.about() for worker in self.workers]
        except BaseException:
            self.close()
            raise
        self.observation_space, self.action_space, self.metadata, nondeterministic = abouts[0]
        self.exact_resume = not nondeterministic
        self.board: Board = map_board(self.file.fileno(), self.observation_space, self.action_space, num_envs)
        for worker in self.workers:
            self._share(worker)
        self.episode = np.full(num_envs, -1)
        self.board.episode[:] = -1
        self.seeds = [None] * num_envs
        self.failures = []
        self.log = ActionLog(self.action_space, num_envs)
        self.obs = create_empty_array(self.observation_space, n=num_envs)
        # Which episodes ran, and where they began in the log, before the last `restart`; for `undo`.
        self._before_restart: tuple[np.ndarray, np.ndarray] | None = None
        self._action_leaves = tree_leaves(self.board.action)

    def _share(self, worker: Worker) -> None:
        socket.send_fds(worker.channel, [b"f"], [self.file.fileno()])

    def start(self) -> Any:
        """Begin episode 0 everywhere."""
        self.episode[:] = -1
        return self._begin_all()

    def _begin_all(self) -> Any:
        self.board.episode[:] = self.episode
        return self.restart(np.ones(self.num_envs, bool))

    def _begin(self, mask: np.ndarray) -> None:
        """Let the workers begin the next episode where `mask [B]`."""
        for worker in self.workers:
            rows = np.flatnonzero(mask[worker.first : worker.first + worker.count]).tolist()
            send(worker.channel, b"b", [(row, self.episode[worker.first + row]) for row in rows])
        for worker in self.workers:
            self.failures += self._answer(worker, in_reset=True)[1]

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`: the workers have done so already where one has ended."""
        self.failures = []
        running = mask & (self.board.episode == self.episode)
        if running.any():
            self._begin(running)
        self._before_restart = self.episode.copy(), self.log.start.copy()
        self.log.forget(mask)

        def merged(shown: np.ndarray, begun: np.ndarray) -> np.ndarray:
            shown = shown.copy()
            shown[mask] = begun[mask]
            return shown

        self.obs = _tree_merge(merged, self.obs, self.board.reset_obs)
        self.episode[mask] = self.board.episode[mask]
        for i in np.flatnonzero(mask).tolist():
            self.seeds[i] = episode_seed(self.seed, i, int(self.episode[i]))
        return self.obs

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment."""
        self.log.add(action)
        self._before_restart = None
        board = self.board
        for leaf, given in zip(self._action_leaves, tree_leaves(action), strict=True):
            leaf[...] = given
        board.reward.fill(np.nan)
        for worker in self.workers:
            # One that has died says so when it is asked for its answer.
            with contextlib.suppress(ConnectionError):
                send(worker.channel, b"s")
        infos: list[dict[str, Any]] = []
        self.failures = []
        for place, worker in enumerate(self.workers):
            said, failures = self._answer(worker)
            if failures and failures[-1].fatal and self.replace_failed:
                said, failures = self._revive(place, failures[-1])
            self.failures += failures
            infos += said or [{}] * worker.count
        self.obs = tree_map(np.array, board.obs)
        return (
            self.obs,
            board.reward.copy(),
            board.terminated.copy(),
            board.truncated.copy(),
            {"infos": infos},
        )

    def _answer(
        self, worker: Worker, in_reset: bool = False
    ) -> tuple[list[dict[str, Any]] | None, list[Failure]]:
        """Infos and failures of a worker; where it does not answer that is a fatal failure of one of its copies."""
        try:
            report = receive(worker.channel)[1]
            return report if report is not None else (None, [])
        except TimeoutError:
            what = f"took more than {worker.timeout:g} s"
        except (EOFError, ConnectionError):
            what = f"took its worker process down{worker.fate()}"
        worker.lost = True
        index, resetting = self._busy(worker)
        begun = episode_seed(self.seed, index, int(self.board.episode[index])) if resetting else None
        return None, [Failure(index, what, None, in_reset or resetting, fatal=True, seed=begun)]

    def _busy(self, worker: Worker) -> tuple[int, bool]:
        """Which copy a worker was at, and whether it was resetting it."""
        rows = slice(worker.first, worker.first + worker.count)
        unstepped = np.flatnonzero(np.isnan(self.board.reward[rows]))
        if len(unstepped):
            return worker.first + int(unstepped[0]), False
        begun = np.flatnonzero(self.board.episode[rows] > self.episode[rows])
        return worker.first + int(begun[-1] if len(begun) else 0), True

    def _revive(self, place: int, failure: Failure) -> tuple[list[dict[str, Any]] | None, list[Failure]]:
        """Put a new worker in the place of one that is lost, and take this step again without the copy at fault."""
        lost: dict[int, Failure] = {}
        while failure.fatal and failure.env_index not in lost:
            old = self.workers[place]
            old.kill()
            worker = self.workers[place] = Worker(old.order, old.timeout)
            worker.about()
            self._share(worker)
            indices = range(worker.first, worker.first + worker.count)
            if not self.exact_resume:
                shared = f"shared a worker process with environment {failure.env_index}, which {failure.what}"
                lost |= {i: Failure(i, shared) for i in indices}
            lost[failure.env_index] = failure._replace(in_reset=False, fatal=False)
            skipped = tuple(i - worker.first for i in lost)
            episodes = {i: self.episode[i] for i in lost}
            if failure.in_reset:
                # That episode cannot be begun; try the one after it.
                episodes[failure.env_index] = self.board.episode[failure.env_index]
            replayed = [
                (
                    i - worker.first,
                    int(self.episode[i]),
                    tree_map(lambda leaf: leaf[:-1], self.log.episode(i)),
                )
                for i in indices
                if i not in lost
            ]
            report: tuple[list[dict[str, Any]] | None, list[Failure]] = (None, [])
            for code, content in (
                (b"l", replayed),
                (b"b", [(i - worker.first, int(episode)) for i, episode in episodes.items()]),
                (b"s", skipped),
            ):
                self.board.reward[worker.first : worker.first + worker.count] = np.nan
                self.board.reward[list(lost)] = 0.0
                send(worker.channel, code, content)
                report = self._answer(worker)
                if report[1] and report[1][-1].fatal:
                    break
            said, failures = report
            if not (failures and failures[-1].fatal):
                return said, [*lost.values(), *failures]
            failure = failures[-1]
        return None, [*lost.values(), failure]

    def undo(self, obs: Any) -> bool:
        """Forget the last step's actions: the episodes are brought back from their log anyway."""
        if self._before_restart is not None:
            self.episode, self.log.start = self._before_restart
        self.log.drop()
        self.obs = obs
        return True

    def replace(self, index: int) -> None:
        """Make one copy anew and begin its next episode."""
        worker = next(w for w in self.workers if w.first <= index < w.first + w.count)
        send(worker.channel, b"r", index - worker.first)
        self._answer(worker)
        send(worker.channel, b"b", [(index - worker.first, int(self.episode[index]))])
        self._answer(worker)

    def render(self, index: int) -> np.ndarray:
        """Picture of one environment."""
        worker = next(w for w in self.workers if w.first <= index < w.first + w.count)
        send(worker.channel, b"v", index - worker.first)
        frame: Any = receive(worker.channel)[1]
        return frame

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.close()
        self.file.close()

    def state_dict(self) -> dict[str, Any]:
        """The same as that of `sync`, so that a run can go on with either."""
        return episodes_state(self.episode, self.log, self.obs)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the running episodes, all workers at once; without `exact_resume` begin those after them."""
        self.episode = np.array(state["episode"])
        if not self.exact_resume:
            self._begin_all()
            return
        self.log.load_state_dict(state["log"])
        self.board.episode[:] = self.episode
        for worker in self.workers:
            worker.channel.settimeout(None)  # an episode may be long
            indices = range(worker.first, worker.first + worker.count)
            episodes = [(i - worker.first, int(self.episode[i]), self.log.episode(i)) for i in indices]
            send(worker.channel, b"l", episodes)
        for worker in self.workers:
            receive(worker.channel)
            worker.channel.settimeout(worker.timeout or None)
        self.obs = tree_map(np.array, self.board.obs)
        self.seeds = [episode_seed(self.seed, i, int(self.episode[i])) for i in range(self.num_envs)]
        warn_unless_same(self.obs, state["obs"])


def _tree_merge(function: Callable[[np.ndarray, np.ndarray], np.ndarray], one: Any, other: Any) -> Any:
    """Apply `function` to each pair of leaves."""
    leaves = iter(tree_leaves(other))
    return tree_map(lambda leaf: function(leaf, next(leaves)), one)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
