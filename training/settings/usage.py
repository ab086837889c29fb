"""Errors of a user's request, and hints at what was meant."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gymnasium.spaces import Space


class UsageError(Exception):
    """The user asked for something impossible; the message is one line for them."""


class RunFailedError(Exception):
    """What was asked for could not be done to the end; the message is one line for the user, with how to go on."""


@contextmanager
def as_usage_errors() -> Iterator[None]:
    """Turn what environments, networks and agents say of a wrong request into a UsageError."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UsageError(str(error).partition("\n")[0]) from error


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, if one is."""
    by_folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[close[0]] if close else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest of the known names, or all of them."""
    known = list(known)
    close = closest(name, known)
    return f"did you mean {close!r}?" if close else f"there are: {', '.join(known) or 'none'}"


def typed_command(*words: object) -> str:
    """A command of ours as the user must type it: `palaestra evaluate 'my runs/ppo'`."""
    return shlex.join(["palaestra", *map(str, words)])


def in_one_line(space: Space) -> str:
    """A space as text for a message."""
    return " ".join(str(space).split())
