"""What the processes of `async` have in common: arrays in shared memory, and messages over sockets."""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import accumulate
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import create_empty_array

from ...networks.tree import tree_leaves, tree_like, tree_map

ALIGNMENT = 64
SHARED_MEMORY = "/dev/shm"
HEADER = struct.Struct("<cI")


class Board(NamedTuple):
    """Arrays `[B, ...]` that the main process and its workers read and write; a worker has its rows only."""

    action: Any
    obs: Any
    """What a step leads to, also where the episode ended."""
    reset_obs: Any
    """What the next episode begins with, where one was begun."""
    reward: np.ndarray
    """NaN until a copy has been stepped, so that the one that hangs is known."""
    terminated: np.ndarray
    truncated: np.ndarray
    episode: np.ndarray
    """Which episode each copy is in."""

    def rows(self, first: int, count: int) -> Board:
        """The part of one worker."""
        return Board(*(tree_map(lambda leaf: leaf[first : first + count], part) for part in self))


def make_board(obs_space: spaces.Space, action_space: spaces.Space, num_envs: int) -> tuple[BinaryIO, Board]:
    """Lay a board out in a file without a name, and return both."""
    plan = _plan(obs_space, action_space, num_envs)
    file = _file_of(_offsets(plan)[-1])
    return file, _mapped(file.fileno(), plan)


def map_board(descriptor: int, obs_space: spaces.Space, action_space: spaces.Space, num_envs: int) -> Board:
    """Find a board in the file that another process has laid it out in."""
    return _mapped(descriptor, _plan(obs_space, action_space, num_envs))


def _file_of(size: int) -> BinaryIO:
    """Make a file: in memory, or in the folder for temporary files where memory for sharing is short, as in containers.

    Its room is reserved. What only gets a length gets its memory when it is written to, and where there is none, the
    system ends the process (SIGBUS).
    """
    try:
        return _reserved(SHARED_MEMORY, size)
    except OSError:
        return _reserved(None, size)


def _reserved(folder: str | None, size: int) -> BinaryIO:
    with ExitStack() as unless_done:
        file: Any = unless_done.enter_context(tempfile.TemporaryFile(dir=folder))
        if sys.platform == "linux":
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            os.ftruncate(file.fileno(), size)
        unless_done.pop_all()
    return file


def _plan(obs_space: spaces.Space, action_space: spaces.Space, num_envs: int) -> Board:
    """Arrays as they are laid out, of which only shapes and types count."""
    obs = create_empty_array(obs_space, n=num_envs)
    return Board(
        create_empty_array(action_space, n=num_envs),
        obs,
        obs,
        np.empty(num_envs),
        np.empty(num_envs, bool),
        np.empty(num_envs, bool),
        np.empty(num_envs, np.int64),
    )


def _offsets(plan: Board) -> list[int]:
    """Where each array begins, and the bytes of all."""
    padded = [-(-leaf.nbytes // ALIGNMENT) * ALIGNMENT for leaf in tree_leaves(tuple(plan))]
    return list(accumulate(padded, initial=0))


def _mapped(descriptor: int, plan: Board) -> Board:
    offsets = _offsets(plan)
    memory = mmap.mmap(descriptor, offsets[-1])
    arrays = [
        np.frombuffer(memory, leaf.dtype, leaf.size, offset).reshape(leaf.shape)
        for leaf, offset in zip(tree_leaves(tuple(plan)), offsets, strict=False)
    ]
    return Board(*tree_like(tuple(plan), arrays))


def send(channel: socket.socket, code: bytes, content: Any = None) -> None:
    """Send one message; without content it costs a system call and nothing else."""
    body = b"" if content is None else pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    channel.sendall(HEADER.pack(code, len(body)) + body)


def receive(channel: socket.socket, tries: int = 1) -> tuple[bytes, Any]:
    """Wait for a message.

    Raises:
        EOFError: the other process is gone.
        TimeoutError: it took longer than the channel's timeout, as often as it may be tried.
    """
    header = _exactly(channel, HEADER.size, tries)
    code, length = HEADER.unpack(header)
    return code, pickle.loads(_exactly(channel, length, tries)) if length else None


def _exactly(channel: socket.socket, size: int, tries: int) -> bytes:
    parts: list[bytes] = []
    while size:
        try:
            part = channel.recv(min(size, 1 << 20))
        except TimeoutError:
            tries -= 1
            if not tries:
                raise
            continue
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def shares(num_envs: int, workers: int) -> Sequence[tuple[int, int]]:
    """First copy and number of copies of each worker, as equal as they divide."""
    each, more = divmod(num_envs, workers)
    counts = [each + (worker < more) for worker in range(workers)]
    return list(zip(np.cumsum([0, *counts[:-1]]).tolist(), counts, strict=True))
