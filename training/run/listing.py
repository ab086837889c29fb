"""What has been trained here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..settings.config import load_plain_config
from ..settings.usage import UsageError
from ..tracking.evaluations_file import EVALUATIONS_FILE as EVALUATIONS_FILE
from ..tracking.evaluations_file import read_evaluations, read_json
from ..tracking.metrics_file import METRICS_FILE, read_metrics
from ..tracking.return_text import return_text
from .storage.checkpoint import list_checkpoints
from .storage.folder import CYCLE_FILE

SUMMARY_FILE = "summary.json"
# Only folders made by `palaestra share` have it.
SHARED_FILE = "results.json"


@dataclass(frozen=True)
class RunInfo:
    """One run folder at a glance."""

    path: str
    agent: str
    env: str
    seed: int
    step: int
    """Environment steps of the last checkpoint."""
    steps: int
    """Environment steps planned."""
    return_mean: float | None
    """Mean return of the last evaluation."""
    finished: bool
    damaged: str | None = None
    """File of the folder that cannot be read, if there is one."""


def find_runs(folder: Path) -> list[RunInfo]:
    """Find the runs in `folder` and below; folders whose config cannot be read are left out."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    found = []
    for path in sorted(folder.rglob("config.yaml")):
        try:
            found.append(describe_run(path.parent))
        except UsageError:
            continue
    return found


def describe_run(run_dir: Path) -> RunInfo:
    """Read what a run folder says about its run."""
    config = load_plain_config(run_dir)
    damaged = None
    evaluated: list[tuple[int, float]] = []
    done = 0
    try:
        read_metrics(run_dir)
    except UsageError:
        damaged = METRICS_FILE
    rows, damage = read_evaluations(run_dir)
    if damage is None:
        evaluated = _points(rows)
    else:
        damaged = EVALUATIONS_FILE
    try:
        # Finished baselines have a summary and no checkpoints.
        done = int(read_json(run_dir / SUMMARY_FILE, {}).get("step", 0))
    except (ValueError, TypeError, OverflowError):
        damaged = SUMMARY_FILE
    return RunInfo(
        path=str(run_dir),
        agent=config.agent,
        env=config.env,
        seed=config.seed,
        step=max((int(path.name) for path in list_checkpoints(run_dir)), default=done),
        steps=config.steps,
        return_mean=evaluated[-1][1] if evaluated else None,
        # A cycle makes fewer steps than planned where dreams are not trusted; its summary is written at the end.
        finished=done >= config.steps or (done > 0 and (run_dir / CYCLE_FILE).exists()),
        damaged=damaged,
    )


def check_not_shared(run_dir: Path) -> None:
    """Raise `UsageError` where `palaestra share` has made a folder: it acts as the run did, and no more."""
    if (run_dir / SHARED_FILE).is_file():
        raise UsageError(f"{run_dir} was made by `palaestra share`: it can act, and not go on learning")


def evaluations(run_dir: Path) -> list[tuple[int, float]]:
    """Step and mean return of a run's evaluations so far; none where their file is damaged."""
    rows, damage = read_evaluations(run_dir)
    return [] if damage else _points(rows)


def _points(rows: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row["return_mean"])) for row in rows]


def format_runs(runs: list[RunInfo]) -> str:
    """Lay runs out as a table."""
    rows = [("run", "agent", "env", "seed", "steps", "return", "")]
    for run in runs:
        done = f"{run.step:,}" if run.finished else f"{run.step:,} of {run.steps:,}"
        value = "-" if run.return_mean is None else return_text(run.return_mean)
        state = f"damaged: {run.damaged}" if run.damaged else "" if run.finished else "unfinished"
        rows.append((run.path, run.agent, run.env, str(run.seed), done, value, state))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def runs_as_json(runs: list[RunInfo]) -> dict[str, Any]:
    """Return runs as one JSON object."""
    return {"runs": [asdict(run) for run in runs]}
