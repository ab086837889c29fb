"""The evaluations of a run: `evaluations.json`, a list of rows, whoever wrote it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .metrics_file import repair_metrics
from .progress import say

EVALUATIONS_FILE = "evaluations.json"


def read_evaluations(run_dir: Path) -> tuple[list[dict[str, Any]], str | None]:
    """Return the rows that can be read, in order, and what is wrong with the file; None where nothing is."""
    path = run_dir / EVALUATIONS_FILE
    try:
        rows = read_json(path, [])
    except ValueError as error:
        return [], str(error)
    whole = [row for row in rows if _is_row(row)]
    lost = len(rows) - len(whole)
    return whole, f"{lost} of its {len(rows)} rows are damaged" if lost else None


def write_evaluations(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows, all or none."""
    write_json(run_dir / EVALUATIONS_FILE, rows, indent=None)


def repair_logged(run_dir: Path) -> None:
    """Leave of metrics and evaluations what can be read: a run goes on without the rest."""
    repair_metrics(run_dir)
    repair_evaluations(run_dir)


def repair_evaluations(run_dir: Path) -> None:
    """Leave only the rows that can be read, and say what is lost: nothing else of a run depends on them."""
    rows, damage = read_evaluations(run_dir)
    path = run_dir / EVALUATIONS_FILE
    if damage is None:
        return
    kept = path.with_name(f"{EVALUATIONS_FILE}.damaged")
    if not kept.exists():
        path.replace(kept)
    if not path.is_dir():
        write_evaluations(run_dir, rows)
    say(f"warning: {path}: {damage}; {len(rows)} rows are kept, and the file is now {kept.name}")


def _is_row(row: Any) -> bool:
    """Whether a row has its step and its mean return."""
    numbers = [row.get(name) for name in ("step", "return_mean")] if isinstance(row, dict) else [None]
    return all(
        isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
        for number in numbers
    )


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a JSON file, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(
        json.dumps(value, indent=indent) + ("" if indent is None else "\n"), encoding="utf-8"
    )
    temporary.replace(path)


def read_json(path: Path, default: Any) -> Any:
    """What a JSON file holds; the default where there is none.

    Raises:
        ValueError: it is damaged, no file, or holds something of another type than the default.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path.name} is no file")  # a pipe would be waited for
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except OSError as error:
        raise ValueError(str(error)) from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, type(default)):
        raise ValueError(f"{path} holds {type(value).__name__}")
    return value
