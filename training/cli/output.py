"""What a command prints, and the code that it exits with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

DONE, FAILURE, BAD_INPUT = 0, 1, 2


def exit_code(signal_number: int | None) -> int:
    """Exit code of what ended by itself (None) or was stopped by a signal, as shells count."""
    return DONE if signal_number is None else 128 + signal_number


def print_result(result: Any, as_json: bool, as_text: Callable[[Any], str]) -> None:
    """Print a command's result on stdout: one JSON object, or laid out for reading."""
    print(json.dumps(result) if as_json else as_text(result))


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
