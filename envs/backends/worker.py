"""A worker process of the `async` backend: it steps its share of the copies when told to."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import traceback
from typing import Any

import cloudpickle
import numpy as np

from ...networks.tree import tree_map
from .copies import Copies, action_rows
from .failure import Failure, RemoteError
from .shared import Board, map_board, receive, send


def main(descriptor: int) -> None:
    """Serve the process at the other end of a socket until it closes it."""
    # Ctrl-C is for the main process, which stops this one when it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        order = receive(channel)[1]
        copies = _make(channel, order)
        if copies is not None:
            _serve(channel, copies, _board(channel, copies, order))
    # At once: what environments leave behind, threads for instance, must not keep the process alive.
    os._exit(0)


def _make(channel: socket.socket, order: dict[str, Any]) -> Copies | None:
    try:
        make = cloudpickle.loads(order["make"])
        copies = Copies(make, order["first"], order["count"], order["seed"], order["replace_failed"])
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


def _board(channel: socket.socket, copies: Copies, order: dict[str, Any]) -> Board:
    _, descriptors, *_ = socket.recv_fds(channel, 1, 1)
    if not descriptors:
        raise EOFError
    env = copies.envs[0]
    board = map_board(descriptors[0], env.observation_space, env.action_space, order["num_envs"])
    os.close(descriptors[0])
    board = board.rows(order["first"], order["count"])
    # What is counted here is seen there.
    copies.episode = board.episode
    return board


def _serve(channel: socket.socket, copies: Copies, board: Board) -> None:
    while True:
        code, content = receive(channel)
        match code:
            case b"s":
                infos, failures = _step(copies, board, content or ())
                said = any(infos)
                report = (infos if said else None, _told(failures)) if said or failures else None
                _reply(channel, report)
            case b"b":  # begin the next episode after one of a certain number
                failures = [
                    failure for row, episode in content for failure in _begin(copies, board, row, episode)
                ]
                _reply(channel, (None, _told(failures)))
            case b"r":  # make a copy anew
                copies.replace(content)
                _reply(channel, None)
            case b"l":  # replay
                for row, episode, actions in content:
                    copies.replay(row, episode, actions, board.obs)
                _reply(channel, None)
            case b"v":
                _reply(channel, copies.envs[content].render())
            case b"x":
                copies.close()
                return


def _reply(channel: socket.socket, content: Any) -> None:
    try:
        send(channel, b"k", content)
    except Exception:
        if content is None or not isinstance(content, tuple):
            raise
        # An info that cannot be pickled stays here.
        send(channel, b"k", (None, content[1]))


def _begin(copies: Copies, board: Board, row: int, episode: int) -> list[Failure]:
    copies.episode[row] = episode
    return copies.begin(row, board.reset_obs)


def _step(
    copies: Copies, board: Board, skipped: tuple[int, ...]
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Step every copy and begin the next episode where one has ended, so that nobody has to ask for it."""
    # A copy: environments may keep their action, or change it.
    rows = action_rows(tree_map(np.array, board.action), len(copies.envs))
    infos, failures = copies.step(rows, board.obs, board.reward, board.terminated, board.truncated, skipped)
    for failure in failures:
        row = failure.env_index - copies.first
        board.terminated[row], board.truncated[row] = False, copies.replace_failed
    done = board.terminated | board.truncated
    if done.any():
        for row in np.flatnonzero(done).tolist():
            if row not in skipped:
                failures += copies.begin(row, board.reset_obs)
    return infos, failures


def _told(failures: list[Failure]) -> list[Failure]:
    """Failures with their tracebacks as text, which any process can read."""

    def told(failure: Failure) -> Failure:
        text = "".join(traceback.format_exception(failure.cause)) if failure.cause else ""
        return failure._replace(cause=RemoteError("\n" + text))

    return [told(failure) for failure in failures]
