"""What a command prints, and the code that it exits with."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from io import TextIOWrapper
from typing import Any, TextIO

DONE, FAILURE, BAD_INPUT = 0, 1, 2
# By None Unix finds what this process has.
C_LIBRARY = "ucrtbase" if sys.platform == "win32" else None

# Where results go while everything else that is written to stdout goes to stderr.
_results: ContextVar[TextIO | None] = ContextVar("results", default=None)


def exit_code(signal_number: int | None) -> int:
    """Exit code of what ended by itself (None) or was stopped by a signal, as shells count."""
    return DONE if signal_number is None else 128 + signal_number


def print_any_letter() -> None:
    """Let stdout have a question mark where its encoding has no such letter, as in files on Windows."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")


def print_result(result: Any, as_json: bool, as_text: Callable[[Any], str]) -> None:
    """Print a command's result on stdout: one JSON object, or laid out for reading."""
    print(json.dumps(result) if as_json else as_text(result), file=_results.get(), flush=True)


@contextmanager
def only_results() -> Iterator[None]:
    """Let nothing but what `print_result` prints reach stdout: what environments print goes to stderr.

    That is what Python prints, what C code and child processes write to the file that stdout is, and what is still in
    their buffers at the end.
    """
    own = sys.stdout
    try:
        own.flush()
        kept = os.dup(1)
    except (OSError, AttributeError):  # stdout is closed
        yield
        return
    # Standing in for a file, as in tests, it is not touched by what happens to the file.
    stands_in = own is not sys.__stdout__
    results = own if stands_in else os.fdopen(os.dup(kept), "w", encoding=own.encoding, errors=own.errors)
    token = _results.set(results)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.reset(token)
        with suppress(OSError, AttributeError):
            ctypes.CDLL(C_LIBRARY).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        if not stands_in:
            results.close()


def format_values(values: dict[str, Any], width: int, digits: int) -> str:
    """A line for each value, behind its name in a column `width` wide; nested values share a line."""
    return "\n".join(f"{name:<{width}} {_format_value(value, digits)}" for name, value in values.items())


def _format_value(value: Any, digits: int) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name}: {_format_value(part, digits)}" for name, part in value.items())
    if isinstance(value, list):
        return "  ".join(_format_value(part, digits) for part in value)
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
