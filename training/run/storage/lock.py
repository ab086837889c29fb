"""Folders that only one process at a time may work in."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...settings.usage import UsageError

LOCK_FILE = ".lock"


@contextmanager
def only_mine(folder: Path) -> Iterator[bool]:
    """Whether no living process works in a folder; as long as this lasts, none of the others will."""
    # Not through a link, which might lead anywhere.
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(folder / LOCK_FILE, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UsageError(f"{folder / LOCK_FILE} is a link; remove it") from None
    with os.fdopen(descriptor, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def locked(folder: Path, work: str = "process is training") -> Iterator[None]:
    """Keep a second process out of a folder; `work` says what the first one does there.

    Raises:
        UsageError: another process is at work there.
    """
    with only_mine(folder) as mine:
        if not mine:
            raise UsageError(f"another {work} in {folder}")
        yield
