"""What runs in a worker process of the `async` backend: it steps its share of the copies on request."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from typing import Any

import cloudpickle
import numpy as np

from ...networks.tree import tree_map
from .copies import EnvCopies, action_rows, picture
from .failure import Failure, RemoteError, failure_of
from .shared import Board, map_board, receive, send

# Nothing here works on Windows: `AsyncBackend` says so.
assert sys.platform != "win32"

# As in `training/run/signals.py`.
STOPPING = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
)


def main(descriptor: int, lifeline: int) -> None:
    """Serve the process at the other end of a socket until it closes it; `lifeline` is a pipe that it holds open."""
    # Signals to the whole group are for the main process, which stops this one when it has saved. Not SIG_IGN, which
    # processes that an environment starts would inherit.
    for number in STOPPING:
        signal.signal(number, lambda *_: None)
    die_with(lifeline)
    channel = socket.socket(fileno=descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        order = receive(channel)[1]
        copies = _make(channel, order)
        if copies is not None:
            _serve(channel, copies, _board(channel, copies, order))
    # At once: what environments leave behind, threads for instance, must not keep the process alive.
    os._exit(0)


def die_with(pipe: int) -> None:
    """End this process when the other end of a pipe is closed, whatever it is doing then.

    By a signal where that is possible: a thread has to wait for an environment that hangs in C. On macOS SIGIO does
    nothing to a process that does not handle it, and Python handles it where a thread would.
    """
    if sys.platform == "linux":
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    else:
        threading.Thread(target=end_with, args=(pipe,), daemon=True).start()


def end_with(pipe: int) -> None:
    """Wait until the other end of a pipe is closed, and end this process."""
    os.read(pipe, 1)
    os._exit(1)


def _make(channel: socket.socket, order: dict[str, Any]) -> EnvCopies | None:
    try:
        try:
            make = cloudpickle.loads(order["make"])
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"a worker process cannot load the environment ({what}); use sync") from error
        copies = EnvCopies(make, order["first"], order["count"], order["seed"])
        env = copies.envs[0]
        nondeterministic = env.spec is not None and env.spec.nondeterministic
        about = (env.observation_space, env.action_space, env.metadata, nondeterministic)
        send(channel, b"k", cloudpickle.dumps(about))
    except Exception as error:
        send(channel, b"e", (_portable(error), traceback.format_exc()))
        return None
    return copies


def _portable(error: Exception) -> Exception:
    """The exception itself if the main process can read it, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _board(channel: socket.socket, copies: EnvCopies, order: dict[str, Any]) -> Board:
    _, descriptors, *_ = socket.recv_fds(channel, 1, 1)
    if not descriptors:
        raise EOFError
    env = copies.envs[0]
    board = map_board(descriptors[0], env.observation_space, env.action_space, order["num_envs"])
    os.close(descriptors[0])
    board = board.rows(order["first"], order["count"])
    # What is counted here can be read there.
    copies.episode = board.episode
    return board


def _serve(channel: socket.socket, copies: EnvCopies, board: Board) -> None:
    while True:
        code, content = receive(channel)
        match code:
            case b"s":
                infos, failures = _step(copies, board)
                packed = _portable_infos(infos) if any(infos) else None
                send(channel, b"k", (packed, _portable_all(failures)) if packed or failures else None)
            case b"b":
                _reply_failures(
                    channel, [f for row, episode in content for f in _begin(copies, board, row, episode)]
                )
            case b"r":  # make a copy anew
                copies.replace(content)
                send(channel, b"k")
            case b"l":
                _reply_failures(
                    channel, [f for replayed in content for f in _replay(copies, board, *replayed)]
                )
            case b"v":
                _reply_picture(channel, copies, content)
            case b"x":
                copies.close()
                return


def _portable_infos(infos: list[dict[str, Any]]) -> bytes | None:
    """Infos as bytes, so that one which cannot be read loses nothing else; None where they cannot be pickled."""
    try:
        return pickle.dumps(infos, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return None


def _reply_failures(channel: socket.socket, failures: list[Failure]) -> None:
    send(channel, b"k", (None, _portable_all(failures)) if failures else None)


def _reply_picture(channel: socket.socket, copies: EnvCopies, row: int) -> None:
    try:
        send(channel, b"k", picture(copies.envs[row]))
    except Exception as error:
        send(channel, b"e", _portable(error))


def _begin(copies: EnvCopies, board: Board, row: int, episode: int) -> list[Failure]:
    """Begin one episode."""
    copies.episode[row] = episode - 1
    return copies.begin(row, board.reset_obs)


def _replay(copies: EnvCopies, board: Board, row: int, episode: int, actions: Any) -> list[Failure]:
    """Bring a copy back, and its last step to the board."""
    try:
        obs, reward, board.terminated[row], board.truncated[row] = copies.replay(row, episode, actions)
        # Where there was no step, the first observation is what somebody waits for.
        for target in (board.obs, board.reset_obs):
            copies.write_obs(target, row, obs)
        board.reward[row] = reward
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        board.reward[row] = 0.0
        return [failure_of(copies.first + row, error)]
    return []


def _step(copies: EnvCopies, board: Board) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Step every copy and begin the next episode where one has ended, so that nobody has to ask for it."""
    # A copy: environments may keep their action, or change it.
    rows = action_rows(tree_map(np.array, board.action), len(copies.envs))
    infos, failures = copies.step(rows, board.obs, board.reward, board.terminated, board.truncated)
    done = board.terminated | board.truncated
    if done.any():
        for row in np.flatnonzero(done).tolist():
            if copies.begin(row, board.reset_obs):
                # It is asked for, then; what goes wrong shows there.
                copies.episode[row] -= 1
    return infos, failures


def _portable_all(failures: list[Failure]) -> list[Failure]:
    """Failures with their tracebacks as text, which any process can read."""

    def portable(failure: Failure) -> Failure:
        text = "".join(traceback.format_exception(failure.cause)) if failure.cause else ""
        return failure._replace(cause=RemoteError("\n" + text))

    return [portable(failure) for failure in failures]
