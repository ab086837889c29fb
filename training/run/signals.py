"""SIGINT, SIGTERM and SIGHUP, taken for as long as there is something to be saved."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A closed terminal (SIGHUP) asks for the same as a service manager does; Windows does not know it.
STOPPING = (
    (signal.SIGINT, signal.SIGTERM)
    if sys.platform == "win32"
    else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
)


class StoppedError(KeyboardInterrupt):
    """A signal stopped what can be done again; as with Ctrl-C, nothing takes it for a failure of its own."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


@contextmanager
def handled_signals(handle: Callable[[int], None]) -> Iterator[Callable[[], None]]:
    """Call `handle` with the number of each such signal; yields a function that ends this early.

    Outside the main thread signals are left alone, and SIGHUP where it is ignored: that is what `nohup` is for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    previous = {
        number: signal.signal(number, lambda caught, frame: handle(caught))
        for number in STOPPING
        if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN
    }

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    try:
        yield restore
    finally:
        restore()


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect signals in a list, so that a loop can stop where a checkpoint can be written.

    A second signal acts at once. Outside the main thread signals are left alone.
    """
    caught: list[int] = []

    def keep(number: int) -> None:
        caught.append(number)
        restore()

    with handled_signals(keep) as restore:
        yield caught


@contextmanager
def stopping_signals() -> Iterator[None]:
    """Raise `StoppedError` where a signal comes, for what leaves nothing to be saved; a second one acts at once."""

    def stop(number: int) -> None:
        restore()
        raise StoppedError(number)

    with handled_signals(stop) as restore:
        yield
