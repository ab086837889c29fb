"""A worker process of the `async` backend, as the main process handles it."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from typing import Any

import cloudpickle

from .failure import Failure, RemoteError
from .shared import receive, send

Report = tuple[list[dict[str, Any]] | None, list[Failure]]

# A process is started by name and not forked: it inherits no locks, no threads and no GPU of this one.
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "import palaestra.envs.backends.worker as w; w.main({}, {})"
)

# Parts of the time that a worker may take.
TRIES = 60


class WorkerProcess:
    """A process with the copies `first, first + 1, ...`."""

    def __init__(self, order: dict[str, Any], timeout: float):
        self.order = order
        self.first, self.count = order["first"], order["count"]
        self.timeout = timeout
        self.lost = False
        """Whether it did not answer, so that it is no use to wait for it."""
        self.channel, other = socket.socketpair()
        # Nothing is ever written into it: it is closed when this process ends, however it does.
        reader, self.lifeline = os.pipe()
        with other:
            descriptors = other.fileno(), reader
            self.process = subprocess.Popen(
                # -P: modules of the working directory must not stand for Python's own.
                [sys.executable, "-P", "-c", START.format(*descriptors), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                # One core a worker is the point.
                env={"OMP_NUM_THREADS": "1", **os.environ},
            )
        os.close(reader)
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
        self.wait_no_longer_than(self.timeout)
        return cloudpickle.loads(content)

    def wait_no_longer_than(self, timeout: float) -> None:
        """Wait for answers so many seconds at most; 0 waits for ever.

        In parts: a program that is stopped for hours and goes on has used up one of them, and not its patience.
        """
        self.channel.settimeout(timeout / TRIES or None)

    def receive(self) -> tuple[bytes, Any]:
        """Wait for a message, for as long as was said."""
        return receive(self.channel, TRIES)

    def fate(self) -> str:
        """How the process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(1)
            return f" ({signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"
        return ""

    @property
    def indices(self) -> range:
        """Its copies, as numbered in all."""
        return range(self.first, self.first + self.count)

    def receive_report(self) -> Report:
        """Infos, where there are any, and failures.

        Raises:
            TimeoutError, EOFError, ConnectionError: it hangs, or has ended.
        """
        packed, failures = self.receive()[1] or (None, [])
        infos = None
        if packed is not None:
            # What can be pickled cannot always be read: exceptions with arguments of their own, for instance.
            with contextlib.suppress(Exception):
                infos = pickle.loads(packed)
        return infos, failures

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self._release()

    def _release(self) -> None:
        self.channel.close()
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1

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
        self._release()
