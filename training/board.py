"""How far a comparison is: a table that stays in place on a terminal, a line for each ended run elsewhere."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from .launch import SCORE_FILE, Outcome
from .suites import PlannedRun
from .tracking import METRICS_FILE

# Enough of a metrics file's end to hold its last row.
TAIL_BYTES = 4096


class Board:
    """Shows, for every agent in every environment, which runs have ended and how far the others are."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream if stream is not None else sys.stderr
        self._lines = 0
        self._known: set[str] = set()
        self._started = time.perf_counter()

    def show(self, planned: list[PlannedRun], outcomes: list[Outcome]) -> None:
        """Bring the table up to date."""
        if self._stream.isatty():
            lines = self._table(planned, outcomes)
            if self._lines:
                self._stream.write(f"\x1b[{self._lines}F\x1b[J")
            self._stream.write("\n".join(lines) + "\n")
            self._lines = len(lines)
        else:
            for outcome in outcomes:
                if outcome.folder not in self._known:
                    ended = f"failed: {outcome.error}" if outcome.error else _score(Path(outcome.folder))
                    self._stream.write(f"{len(self._known) + 1}/{len(planned)} {outcome.folder}  {ended}\n")
                    self._known.add(outcome.folder)
        self._stream.flush()

    def _table(self, planned: list[PlannedRun], outcomes: list[Outcome]) -> list[str]:
        ended = {outcome.folder: outcome for outcome in outcomes}
        groups: dict[tuple[str, str, int], list[PlannedRun]] = {}
        for run in planned:
            groups.setdefault((run.env, run.contestant.label, run.steps), []).append(run)
        rows = [("environment", "agent", "runs", "", "mean return")]
        for (env, label, steps), runs in groups.items():
            done = [run for run in runs if str(run.folder) in ended]
            failed = sum(ended[str(run.folder)].error is not None for run in done)
            scores = [value for run in done if (value := _value(run.folder)) is not None]
            shares = [_progress(run.folder, steps) for run in runs if run not in done]
            running = " ".join(f"{share:.0%}" for share in shares if share is not None)
            mean = f"{sum(scores) / len(scores):.1f}" if scores else ""
            count = f"{len(done) - failed}/{len(runs)}" + (f", {failed} failed" if failed else "")
            rows.append((env, label, count, running, mean))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        columns = os.get_terminal_size(self._stream.fileno()).columns
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()[
                : columns - 1
            ]
            for row in rows
        ]
        minutes = (time.perf_counter() - self._started) / 60
        return [*lines, f"{len(ended)} of {len(planned)} runs, {minutes:.0f} min"]


def _value(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / SCORE_FILE).read_text())["return_mean"])
    except (OSError, ValueError):
        return None


def _score(folder: Path) -> str:
    value = _value(folder)
    return "" if value is None else f"return {value:.1f}"


def _progress(folder: Path, steps: int) -> float | None:
    """Share of a run that is done, from the last row of its metrics; None where it has not begun."""
    path = folder / METRICS_FILE
    if not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        rows = file.read().splitlines()
    try:
        return float(json.loads(rows[-1])["step"]) / steps
    except (IndexError, ValueError):
        return 0.0
