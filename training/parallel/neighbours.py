"""What processes of one machine say to each other through memory that they share: sums of vectors, and bytes."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

# What a process writes at a time, in bytes.
CAPACITY = 2**20
SHARED_MEMORY = Path("/dev/shm")
# All of them connect at the same time; who has not by then cannot.
SECONDS_TO_CONNECT = 60.0


class Neighbours:
    """All processes of a machine. Each must make the same calls in the same order.

    Each process writes into a row of a memory that all of them see, rings at each of the others, waits until all of
    them have rung, and reads the rows. It writes into two such memories in turn: whoever has heard all others ring for
    one knows that they have read the other.

    Bells are Unix sockets. The kernel orders what was written before a byte was sent before what is read after it was
    received, on every processor; and the bell of a process that has ended, however it has, ends the wait for it.
    """

    def __init__(self, rank: int, memory: np.ndarray, bells: list[socket.socket]):
        """`memory` is bytes `[2, processes, CAPACITY]` that all of them see; `bells` connect to each of the others."""
        self.rank, self.memory, self.bells = rank, memory, bells
        self.turn = 0

    def add_up(self, vector: np.ndarray) -> None:
        """Replace a vector `[N]` by its sum over all, in their order: the same in each, bit for bit.

        Raises:
            EOFError: one of them has ended, or has not come here for as long as the bells wait.
        """
        size = CAPACITY // vector.itemsize
        for start in range(0, len(vector), size):
            piece = vector[start : start + size]
            rows = self._next_rows().view(vector.dtype)[:, : len(piece)]
            rows[self.rank] = piece
            self._meet()
            np.add.reduce(rows, axis=0, out=piece)

    def gather(self, data: bytes) -> list[bytes]:
        """What each of them has given, in their order; raises as `add_up` does."""
        given = [bytearray() for _ in self.memory[0]]
        mine, missing, sent = np.frombuffer(data, np.uint8), True, 0
        while missing:
            rows, size = self._next_rows(), CAPACITY - 8
            piece = mine[sent : sent + size]
            sent += len(piece)
            # How long it is in all, and a piece of it.
            rows[self.rank, :8].view(np.int64)[0] = len(mine)
            rows[self.rank, 8 : 8 + len(piece)] = piece
            self._meet()
            missing = False
            for row, got in zip(rows, given, strict=True):
                length = int(row[:8].view(np.int64)[0])
                got += row[8 : 8 + min(size, length - len(got))].tobytes()
                missing |= len(got) < length
        return [bytes(each) for each in given]

    def _next_rows(self) -> np.ndarray:
        self.turn = 1 - self.turn
        return self.memory[self.turn]

    def _meet(self) -> None:
        """Ring at all others, and wait until each has rung."""
        try:
            for bell in self.bells:
                bell.sendall(b"!")
            for bell in self.bells:
                if not bell.recv(1):
                    raise EOFError("a process has ended")
        except OSError as error:
            raise EOFError(f"a process has ended, or does not come: {error}") from error

    def close(self) -> None:
        """Let go of what is shared; nothing of it has a name."""
        for bell in self.bells:
            bell.close()


def meet_neighbours(
    rank: int, size: int, gather: Callable[[Any], list[Any]], seconds: float
) -> Neighbours | None:
    """Connect all `size` processes of a machine; None in each of them where one cannot.

    The names of what is shared are gone when this returns to rank 0: nothing is left behind, however a run ends.
    Before, they talk by `gather`, which returns what each has given; `seconds` is how long one waits for another.
    """
    with ExitStack() as names, ExitStack() as bells:
        made = _try(lambda: _make_memory(size)) if rank == 0 else None
        if made is not None:
            names.callback(shutil.rmtree, made, ignore_errors=True)
        folder = gather(made)[0]
        memory: Any = None
        listener: Any = None
        found: Any = None
        if folder is not None:
            shape = (2, size, CAPACITY)
            memory = _try(lambda: np.asarray(np.memmap(folder / "memory", np.uint8, "r+", shape=shape)))
            listener = _try(lambda: names.enter_context(_listen(folder / str(rank), size)))
        if all(gather(memory is not None and listener is not None)):
            found = _try(lambda: _connect(folder, rank, size, listener, seconds, bells))
        if not all(gather(found is not None)):
            return None
        bells.pop_all()
        return Neighbours(rank, memory, found)


def _try(attempt: Callable[[], Any]) -> Any:
    """What an attempt returns; None where the machine does not allow it, or has no room."""
    try:
        return attempt()
    except OSError:
        return None


def _make_memory(size: int) -> Path:
    """Make a folder that only this user may enter, with a file to be shared: in memory, where the system says so."""
    where = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="palaestra-", dir=where))
    try:
        # Every byte is written, so that it is here that there is no room, and not in training.
        (folder / "memory").write_bytes(bytes(2 * size * CAPACITY))
    except OSError:
        shutil.rmtree(folder)
        raise
    return folder


def _unix() -> int:
    """The family of sockets that have names in folders; Windows has none."""
    if sys.platform == "win32":
        raise OSError("no Unix sockets")
    return socket.AF_UNIX


def _listen(path: Path, size: int) -> socket.socket:
    listener = socket.socket(_unix())
    listener.bind(str(path))
    listener.listen(size)
    return listener


def _connect(
    folder: Path, rank: int, size: int, listener: socket.socket, seconds: float, bells: ExitStack
) -> list[socket.socket]:
    """Call those of lower numbers, and let those of higher ones call; `bells` closes what was made."""
    found = [bells.enter_context(socket.socket(_unix())) for _ in range(rank)]
    for other, bell in enumerate(found):
        bell.connect(str(folder / str(other)))
    listener.settimeout(SECONDS_TO_CONNECT)
    found += [bells.enter_context(listener.accept()[0]) for _ in range(rank + 1, size)]
    for bell in found:
        bell.settimeout(seconds)
    return found
