"""The metrics file of a run: one JSON object a line, `step` first."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..settings.usage import UsageError
from .progress import say

METRICS_FILE = "metrics.jsonl"


def numbered_rows(path: Path) -> Iterator[tuple[dict[str, float], int]]:
    """Yield each row of a metrics file and the byte offset behind it, but not a last line cut short."""
    end = 0
    if not path.is_file():
        raise UsageError(f"{path} is no file")  # a pipe would be waited for
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            row = _row(line)
            if row is None:
                raise UsageError(f"{path}, line {number} is not a row of metrics: {line[:60]!r}")
            yield row, end


def _row(line: bytes) -> dict[str, float] | None:
    """What a line says; None where it is not a row."""
    try:
        row = json.loads(line)
        numbers = all(isinstance(value, int | float) for value in row.values())
        return row if numbers and not isinstance(row["step"], bool) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def repair_metrics(run_dir: Path) -> None:
    """Leave only the lines that can be read, and say what is lost: after a power cut there may be holes in a file."""
    path = run_dir / METRICS_FILE
    if not path.is_file():
        return
    with path.open("rb") as file:
        lines = file.readlines()
    # A last line that was cut short is cut off where the run goes on.
    whole = [line for line in lines if not line.endswith(b"\n") or _row(line) is not None]
    if len(whole) == len(lines):
        return
    kept = path.with_name(f"{METRICS_FILE}.damaged")
    if not kept.exists():
        path.replace(kept)
    path.write_bytes(b"".join(whole))
    lost = len(lines) - len(whole)
    say(f"warning: {path}: {lost} of {len(lines)} lines are no rows of metrics; the file is now {kept.name}")


def truncate_after(path: Path, step: int) -> None:
    """Cut off the rows of a metrics file that come after `step`."""
    end = 0
    for row, row_end in numbered_rows(path):
        if row["step"] > step:
            break
        end = row_end
    os.truncate(path, end)


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """Return the rows of a run's metrics file, in order; none where there is no file yet."""
    path = run_dir / METRICS_FILE
    return [row for row, _ in numbered_rows(path)] if path.exists() else []
