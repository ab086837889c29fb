"""SIGINT and SIGTERM, taken for as long as there is something to be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def handled_signals(handle: Callable[[int], None]) -> Iterator[Callable[[], None]]:
    """Call `handle` with the number of each SIGINT and SIGTERM; yields a function that ends this early.

    Outside the main thread signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda caught, frame: handle(caught)) for number in numbers}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    try:
        yield restore
    finally:
        restore()


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, so that a loop can stop where a checkpoint can be written.

    A second signal acts at once. Outside the main thread signals are left alone.
    """
    caught: list[int] = []

    def keep(number: int) -> None:
        caught.append(number)
        restore()

    with handled_signals(keep) as restore:
        yield caught
