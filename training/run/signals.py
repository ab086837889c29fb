"""SIGINT, SIGTERM and SIGHUP, taken for as long as there is something to be saved."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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


class Handler:
    """What is called for a signal, and what would be if nothing of ours were."""

    def __init__(self, handle: Callable[[int], None], previous: Any):
        self.handle = handle
        self.outermost: Any = previous.outermost if isinstance(previous, Handler) else previous

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        self.handle(number)


@contextmanager
def handled_signals(handle: Callable[[int], None]) -> Iterator[Callable[[], None]]:
    """Call `handle` with the number of each such signal; yields a function that ends this early, and all around it.

    Outside the main thread signals are left alone, and SIGHUP where it is ignored: that is what `nohup` is for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    previous: dict[signal.Signals, Any] = {
        number: signal.getsignal(number)
        for number in STOPPING
        if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN
    }
    ours = {number: Handler(handle, handler) for number, handler in previous.items()}
    for number, handler in ours.items():
        signal.signal(number, handler)

    def end() -> None:
        for number, handler in ours.items():
            signal.signal(number, handler.outermost)

    try:
        yield end
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect signals in a list, so that a loop can stop where a checkpoint can be written.

    A second signal acts at once. Outside the main thread signals are left alone.
    """
    caught: list[int] = []

    def keep(number: int) -> None:
        caught.append(number)
        end()

    with handled_signals(keep) as end:
        yield caught


@contextmanager
def stopping_signals() -> Iterator[None]:
    """Raise `StoppedError` where a signal comes, for what leaves nothing to be saved; a second one acts at once."""

    def stop(number: int) -> None:
        end()
        raise StoppedError(number)

    with handled_signals(stop) as end:
        yield
