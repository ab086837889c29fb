"""What has been trained here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..settings.config import load_config
from ..settings.usage import UsageError
from .checkpoint import list_checkpoints


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
    config = load_config(run_dir)
    evaluated = evaluations(run_dir)
    # Baselines have a summary and no checkpoints.
    done = _read(run_dir / "summary.json", {}).get("step", 0)
    return RunInfo(
        path=str(run_dir),
        agent=config.agent,
        env=config.env,
        seed=config.seed,
        step=max((int(path.name) for path in list_checkpoints(run_dir)), default=done),
        steps=config.steps,
        return_mean=evaluated[-1][1] if evaluated else None,
        finished=done >= config.steps,
    )


def evaluations(run_dir: Path) -> list[tuple[int, float]]:
    """Step and mean return of a run's evaluations so far."""
    return [(int(row["step"]), float(row["return_mean"])) for row in _read(run_dir / "evaluations.json", [])]


def _read(path: Path, default: Any) -> Any:
    """What a JSON file holds; the default where it is not there, damaged, or of another type."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return default
    return value if isinstance(value, type(default)) else default


def format_runs(runs: list[RunInfo]) -> str:
    """Lay runs out as a table."""
    rows = [("run", "agent", "env", "seed", "steps", "return", "")]
    for run in runs:
        done = f"{run.step:,}" if run.finished else f"{run.step:,} of {run.steps:,}"
        value = "-" if run.return_mean is None else f"{run.return_mean:.1f}"
        rows.append(
            (run.path, run.agent, run.env, str(run.seed), done, value, "" if run.finished else "unfinished")
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def runs_as_json(runs: list[RunInfo]) -> dict[str, Any]:
    """Return runs as one JSON object."""
    return {"runs": [asdict(run) for run in runs]}
