"""The metrics file of a run: one JSON object a line, `step` first."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..settings.usage import UsageError

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
            try:
                row = json.loads(line)
                whole = not isinstance(row["step"], bool) and all(
                    isinstance(value, int | float) for value in row.values()
                )
            except (ValueError, KeyError, TypeError, RecursionError):
                whole = False
            if not whole:
                raise UsageError(f"{path}, line {number} is not a row of metrics: {line[:60]!r}")
            yield row, end


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
