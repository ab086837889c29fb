"""How far a comparison is: a table that stays in place on a terminal, lines now and then elsewhere."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from ..tracking.metrics_file import METRICS_FILE
from ..tracking.progress import duration
from ..tracking.return_text import return_text
from ..tracking.stderr import LastingStream
from .jobs import SCORE_FILE, Outcome
from .suites import PlannedRun

# Enough of a metrics file's end to hold its last row.
TAIL_BYTES = 4096
# Seconds between lines about running runs, where there is no terminal.
LINE_SECONDS = 60.0

Groups = dict[tuple[str, str, int], list[PlannedRun]]


class ProgressTable:
    """Shows, for every agent in every environment, which runs have ended and how far the others are."""

    def __init__(self, stream: TextIO | None = None):
        self._stream: Any = LastingStream(stream if stream is not None else sys.stderr)
        self._lines = 0
        self._known: set[str] = set()
        self._started = time.perf_counter()
        self._next_line = self._started + LINE_SECONDS

    def show(self, planned: list[PlannedRun], outcomes: list[Outcome]) -> None:
        """Bring the table up to date."""
        if self._stream.isatty():
            lines = self._table(planned, outcomes)
            if self._lines:
                self._stream.write(f"\x1b[{self._lines}F\x1b[J")
            self._stream.write("\n".join(lines) + "\n")
            self._lines = len(lines)
        else:
            self._write_lines(planned, outcomes)
        self._stream.flush()

    def _write_lines(self, planned: list[PlannedRun], outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.folder not in self._known:
                self._known.add(outcome.folder)
                ended = f"failed: {outcome.error}" if outcome.error else _score(Path(outcome.folder))
                self._stream.write(f"{len(self._known)}/{len(planned)} {outcome.folder}  {ended}\n")
        if time.perf_counter() >= self._next_line:
            self._next_line = time.perf_counter() + LINE_SECONDS
            waiting = [run for run in planned if str(run.folder) not in self._known]
            running = [
                f"{run.contestant.label} on {run.env}, seed {run.seed}: {share:.0%}"
                for run in waiting
                if (share := _progress(run)) is not None
            ]
            self._stream.write(f"{self._so_far(planned, outcomes)}; {'; '.join(running)}\n")

    def _so_far(self, planned: list[PlannedRun], outcomes: list[Outcome]) -> str:
        spent = duration(time.perf_counter() - self._started)
        return f"{len(outcomes)} of {len(planned)} runs, {spent}"

    def _table(self, planned: list[PlannedRun], outcomes: list[Outcome]) -> list[str]:
        ended = {outcome.folder: outcome for outcome in outcomes}
        groups: Groups = {}
        for run in planned:
            groups.setdefault((run.env, run.contestant.label, run.steps), []).append(run)
        rows = [_row(env, label, runs, ended) for (env, label, _), runs in groups.items()]
        size = shutil.get_terminal_size()
        # What is at work goes first where not all of it fits; the rest is a line.
        room = max(1, size.lines - 4)
        visible = rows if len(rows) <= room else sorted(rows, key=lambda row: not row[3])[:room]
        header = ("environment", "agent", "runs", "running", "mean return")
        widths = [max(len(row[column]) for row in [header, *visible]) for column in range(5)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [header, *visible]
        ]
        hidden = f", {len(rows) - len(visible)} rows not shown" if len(visible) < len(rows) else ""
        return [line[: size.columns - 1] for line in [*lines, self._so_far(planned, outcomes) + hidden]]


def _row(
    env: str, label: str, runs: list[PlannedRun], ended: dict[str, Outcome]
) -> tuple[str, str, str, str, str]:
    done = [run for run in runs if str(run.folder) in ended]
    failed = sum(ended[str(run.folder)].error is not None for run in done)
    scores = [value for run in done if (value := _value(run.folder)) is not None]
    shares = [share for run in runs if run not in done and (share := _progress(run)) is not None]
    count = f"{len(done) - failed}/{len(runs)}" + (f", {failed} failed" if failed else "")
    mean = return_text(sum(scores) / len(scores)) if scores else ""
    return env, label, count, " ".join(f"{share:.0%}" for share in shares), mean


def _value(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / SCORE_FILE).read_text(encoding="utf-8"))["return_mean"])
    except (OSError, ValueError):
        return None


def _score(folder: Path) -> str:
    value = _value(folder)
    return "" if value is None else f"return {return_text(value)}"


def _progress(run: PlannedRun) -> float | None:
    """Share of a run that is done, from the last row of its metrics; None where it has not begun."""
    path = run.folder / METRICS_FILE
    if not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        rows = file.read().splitlines()
    try:
        return min(1.0, float(json.loads(rows[-1])["step"]) / run.steps)
    except (IndexError, ValueError):
        return 0.0
