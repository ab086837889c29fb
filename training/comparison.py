"""What `palaestra compare` does from end to end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .board import Board
from .compare import natural_pairings, pairings, run_suite, score_runs
from .comparison_wandb import comparison_findings
from .findings import summarize
from .launch import Launcher, LocalLauncher, Outcome, RayLauncher
from .lock import locked
from .progress import say
from .report import summary, write_report
from .suites import read_suite, suite_names
from .tracking_wandb import publish
from .usage import UsageError

if TYPE_CHECKING:
    from .cli import CompareOptions


AT_WORK = "comparison is at work"


@dataclass(frozen=True)
class Compared:
    """What a comparison came to."""

    findings: dict[str, Any]
    text: str
    """What to print of it."""
    failed: list[Outcome]


def run_comparison(options: CompareOptions) -> Compared:
    """Compare a suite's agents, or finished runs, and write a report.

    Raises:
        UsageError: the request is wrong, or nothing could be finished.
        StoppedError: a signal came.
    """
    launcher = make_launcher(options)
    if not options.targets:
        raise UsageError(
            f"what shall be compared? a suite ({', '.join(suite_names())}), a file, or folders of runs"
        )
    folders = [Path(target) for target in options.targets]
    if all(folder.is_dir() for folder in folders):
        out = options.out or Path("comparisons") / "runs"
        out.mkdir(parents=True, exist_ok=True)
        with locked(out, AT_WORK):
            finished = score_runs(folders, options.episodes, launcher, say)
            name = " and ".join(options.targets)
            return report(summarize(name, finished, natural_pairings(finished)), out, [], options.wandb)
    if len(options.targets) > 1:
        missing = next(folder for folder in folders if not folder.is_dir())
        raise UsageError(f"{missing} is not a folder of runs; give one suite, or folders only")
    suite = read_suite(options.targets[0])
    out = options.out or Path("comparisons") / suite.name
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, AT_WORK):
        finished, failed = run_suite(suite, out, launcher, Board().show)
        if not finished:
            raise UsageError(f"no run could be finished; the first one: {failed[0].error}")
        findings = summarize(suite.name, finished, pairings(suite), suite.references)
        return report(findings, out, failed, options.wandb)


def report(findings: dict[str, Any], out: Path, failed: list[Outcome], wandb: bool) -> Compared:
    """Write the report, to W&B too where that is wanted; runs that are missing from it are named in it."""
    findings["notes"] += [f"Failed, and missing here: {each.folder} ({each.error})" for each in failed]
    written = write_report(findings, out)
    if wandb:
        publish(comparison_findings(findings, written), out)
    return Compared(findings, summary(findings, written.page), failed)


def make_launcher(options: CompareOptions) -> Launcher:
    """Return what starts the runs."""
    if options.workers < 0:
        raise UsageError(f"--workers: must be at least 0, got {options.workers}")
    workers = options.workers or os.cpu_count() or 1
    if options.launcher == "ray":
        return RayLauncher(workers, options.ray_address)
    if options.ray_address is not None:
        raise UsageError("--ray-address: only with --launcher ray")
    return LocalLauncher(workers)
