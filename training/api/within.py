"""What surrounds every call from Python: what was passed is known, and the program's own state stays as it is."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .envs.outside import given_objects
from .passed import Passed
from .training.settings.config import BLOCKS as CONFIG_BLOCKS
from .training.settings.trust import trusting
from .training.settings.usage import RunFailedError, UsageError
from .training.tracking.progress import quietly, worded

if TYPE_CHECKING:
    from .run_object import Run

# Keywords, by how the command line begins the names of the same options.
BLOCKS = {block: f"{block}_options" for block in (*CONFIG_BLOCKS, "env")}


class RunInterrupted(KeyboardInterrupt):
    """Training was interrupted (Ctrl-C, or a notebook's stop button), after a checkpoint was saved."""

    def __init__(self, message: str, run: Run):
        super().__init__(message)
        self.run = run
        """The run: `run.resume()` goes on with it."""


@contextmanager
def within(passed: Passed, progress: bool = True, trust: bool = False) -> Iterator[None]:
    """Do something for a program, with what it has passed; notes and errors name options by their keywords.

    Raises:
        UsageError, RunFailedError: as of the command line.
    """
    with (
        given_objects(passed.objects),
        trusting(names=passed.names, everything=trust),
        quietly(not progress),
        worded(in_keywords),
        same_threads(),
    ):
        try:
            yield
        except (UsageError, RunFailedError) as error:
            raise type(error)(in_keywords(str(error))) from error.__cause__


def in_keywords(message: str) -> str:
    """Name options in a message as Python does: `--agent.clip-range` is `agent_options.clip_range`.

    Commands, which begin with `palaestra`, are left as they are.
    """
    text, command, rest = re.fullmatch(r"(.*?)(\bpalaestra [a-z-]+ .*)?()", message, re.DOTALL).groups("")  # type: ignore[union-attr]

    def keyword(block: str | None, name: str) -> str:
        name = name.replace("-", "_")
        return name if block is None else f"{BLOCKS.get(block, block)}.{name}"

    text = re.sub(r"(?<![\w-])--(?:([a-z]+)\.)?([a-z][\w-]*)", lambda m: keyword(m[1], m[2]), text)
    text = re.sub(
        rf"'({'|'.join(BLOCKS)}|env_options)\.([a-z]\w*)'", lambda m: f"'{keyword(m[1], m[2])}'", text
    )
    return text + command + rest


_counting = threading.Lock()
_inside = 0
_threads = 1


@contextmanager
def same_threads() -> Iterator[None]:
    """Give torch as many threads again as it had before the first of the calls that overlap."""
    import torch

    global _inside, _threads
    with _counting:
        # Always: a thread that has not asked yet takes the number of whichever thread set its own last (torch 2.13).
        here = torch.get_num_threads()
        if _inside == 0:
            _threads = here
        _inside += 1
    try:
        yield
    finally:
        with _counting:
            _inside -= 1
            torch.set_num_threads(_threads)


def pass_on(number: int, message: str, run: Run) -> None:
    """Let a signal that ended a run do what it would have done without it.

    Raises:
        RunInterrupted: it was an interrupt, or the program goes on after the signal.
    """
    if number != signal.SIGINT:
        signal.raise_signal(number)
    raise RunInterrupted(message, run)
