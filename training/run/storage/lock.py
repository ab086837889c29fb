"""Folders that only one process at a time may work in."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...settings.usage import UsageError
from ...tracking.progress import say

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = ".lock"
# What file systems of clusters say that know no locks (Lustre without its option flock).
UNKNOWN_HERE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def only_mine(folder: Path) -> Iterator[bool]:
    """Whether no living process works in a folder; as long as this lasts, none of the others will."""
    # Not through a link, which might lead anywhere.
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(folder / LOCK_FILE, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UsageError(f"{folder / LOCK_FILE} is a link; remove it") from None
    with os.fdopen(descriptor, "w") as file:
        try:
            _lock(file.fileno())
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in UNKNOWN_HERE:
                raise
            say(
                f"warning: {folder} is on a file system without locks: nothing keeps a second process out of it"
            )
        yield True


def _lock(descriptor: int) -> None:
    """Lock a file for as long as it is open.

    Raises:
        BlockingIOError: another process has locked it.
    """
    if sys.platform == "win32":
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from error
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
