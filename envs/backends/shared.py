"""What the processes of `async` have in common: arrays in shared memory, and messages over sockets."""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import create_empty_array

from ...networks.tree import tree_leaves, tree_like, tree_map

ALIGNMENT = 64
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


def board_file() -> BinaryIO:
    """Open a file without a name, in memory where the system has that."""
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    return tempfile.TemporaryFile(dir=folder)  # type: ignore[return-value]


def map_board(descriptor: int, obs_space: spaces.Space, action_space: spaces.Space, num_envs: int) -> Board:
    """Lay a board out in an open file, which all processes map."""
    obs = create_empty_array(obs_space, n=num_envs)
    plan = Board(
        create_empty_array(action_space, n=num_envs),
        obs,
        obs,
        np.empty(num_envs),
        np.empty(num_envs, bool),
        np.empty(num_envs, bool),
        np.empty(num_envs, np.int64),
    )
    leaves = tree_leaves(tuple(plan))
    offsets = np.cumsum([0, *(-(-leaf.nbytes // ALIGNMENT) * ALIGNMENT for leaf in leaves)]).tolist()
    size = max(offsets[-1], mmap.PAGESIZE)
    if os.fstat(descriptor).st_size < size:
        os.ftruncate(descriptor, size)
    memory = mmap.mmap(descriptor, size)
    arrays = [
        np.frombuffer(memory, leaf.dtype, leaf.size, offset).reshape(leaf.shape)
        for leaf, offset in zip(leaves, offsets, strict=False)
    ]
    return Board(*tree_like(tuple(plan), arrays))


def send(channel: socket.socket, code: bytes, content: Any = None) -> None:
    """Send one message; without content it costs a system call and nothing else."""
    body = b"" if content is None else pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    channel.sendall(HEADER.pack(code, len(body)) + body)


def receive(channel: socket.socket) -> tuple[bytes, Any]:
    """Wait for a message.

    Raises:
        EOFError: the other process is gone.
        TimeoutError: it took longer than the channel's timeout.
    """
    header = channel.recv(HEADER.size)
    if len(header) < HEADER.size:
        header += _exactly(channel, HEADER.size - len(header))
    code, length = HEADER.unpack(header)
    return code, pickle.loads(_exactly(channel, length)) if length else None


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = channel.recv(min(size, 1 << 20))
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
