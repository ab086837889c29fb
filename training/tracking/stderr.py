"""Standard error for as long as somebody reads it: a closed terminal or a full disk must not end days of training."""

from __future__ import annotations

import sys
from typing import Any

# Besides what files raise: ValueError where it is closed, RuntimeError where a signal interrupts a line being written.
UNWRITABLE = (OSError, ValueError, RuntimeError)


class LastingStream:
    """A text stream whose failures are nobody's: what cannot be written any more is dropped.

    Everything else is that of the stream behind it.
    """

    def __init__(self, stream: Any):
        self._stream: Any = stream._stream if isinstance(stream, LastingStream) else stream

    def write(self, text: str) -> int:
        """Write text, if that is possible."""
        try:
            return int(self._stream.write(text) or 0)
        except UNWRITABLE:
            return len(text)

    def flush(self) -> None:
        """Write what is left, if that is possible."""
        try:
            self._stream.flush()
        except UNWRITABLE:
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    # tqdm asks whether a bar and a line go to the same place.
    def __eq__(self, other: object) -> bool:
        return self._stream is (other._stream if isinstance(other, LastingStream) else other)

    def __hash__(self) -> int:
        return hash(self._stream)


def keep_stderr() -> None:
    """Let nothing that this process says on stderr fail from now on, whoever says it."""
    if sys.stderr is not None and not isinstance(sys.stderr, LastingStream):
        sys.stderr = LastingStream(sys.stderr)  # type: ignore[assignment]
