"""Signals that ask a process to stop, taken for as long as there is something to be saved."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# A closed terminal (SIGHUP) asks for the same as a service manager does, and a cluster that is about to end a job
# (SIGUSR1 or SIGUSR2 as its user likes, SIGXCPU where CPU time is up). Windows knows none of these, but has one that
# can be sent to other processes (SIGBREAK).
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
STOPPING = tuple(signal.Signals[name] for name in NAMES if hasattr(signal, name))
# Seconds in which a second signal is the same wish: a wrapper passes on what the whole group has had already.
SAME_WISH = 1.0


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
def handled_signals(handle: Callable[[int], None]) -> Iterator[Callable[[int], None]]:
    """Call `handle` with the number of each such signal, but not again within a second after the first one.

    Yields a function that lets a signal do what it would if nothing of ours, here and all around, took any. Outside
    the main thread signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda number: None
        return
    first: list[float] = []

    def unless_same_wish(number: int) -> None:
        now = time.monotonic()
        if not first or now - first[0] >= SAME_WISH:
            first.append(now)
            handle(number)

    previous = {number: signal.getsignal(number) for number in STOPPING if _is_ours_to_take(number)}
    ours = {number: Handler(unless_same_wish, handler) for number, handler in previous.items()}
    for number, handler in ours.items():
        signal.signal(number, handler)

    def at_once(number: int) -> None:
        for taken, handler in ours.items():
            signal.signal(taken, handler.outermost)
        signal.raise_signal(number)

    try:
        yield at_once
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _is_ours_to_take(number: signal.Signals) -> bool:
    """Whether nobody else has plans: `nohup` ignores SIGHUP, and programs may use what is for users."""
    present = signal.getsignal(number)
    if number in (signal.SIGINT, signal.SIGTERM):
        return True
    if number.name == "SIGHUP":
        return present is not signal.SIG_IGN
    return present is signal.SIG_DFL or isinstance(present, Handler)


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect signals in a list, so that a loop can stop where a checkpoint can be written.

    A second signal, a second later, acts at once. Outside the main thread signals are left alone.
    """
    from ..tracking.progress import say  # takes longer than all of --help

    caught: list[int] = []

    def keep(number: int) -> None:
        if caught:
            at_once(number)
        else:
            caught.append(number)
            say("stopping where a checkpoint can be written; another signal ends this at once")

    with handled_signals(keep) as at_once:
        yield caught


@contextmanager
def stopping_signals() -> Iterator[None]:
    """Raise `StoppedError` where a signal comes, for what leaves nothing to be saved; a later one acts at once."""
    stopped: list[int] = []

    def stop(number: int) -> None:
        if stopped:
            at_once(number)
        else:
            stopped.append(number)
            raise StoppedError(number)

    with handled_signals(stop) as at_once:
        yield
