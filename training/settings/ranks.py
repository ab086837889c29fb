"""Which of the processes of one run this one is, as torchrun's environment says."""

from __future__ import annotations

import os
from typing import NamedTuple

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Rank(NamedTuple):
    """One of the processes that train one run."""

    rank: int = 0
    """Its number; 0 alone writes and prints."""
    size: int = 1
    """How many there are."""
    local_rank: int = 0
    """Its number on this machine."""
    local_size: int = 1
    """How many are on this machine."""


def this_rank() -> Rank:
    """Return this process's place; it is alone unless torchrun has started it."""
    # Some clusters set one or two of these for other purposes.
    if not all(name in os.environ for name in VARIABLES):
        return Rank()
    return Rank(*(int(os.environ[name]) for name in VARIABLES[:4]))


def processes(count: int) -> str:
    """A number of processes, in words."""
    return "one process" if count == 1 else f"{count} processes"
