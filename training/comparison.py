"""What `palaestra compare` does from end to end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .board import Board
from .compare import natural_pairings, pairings, run_suite, score_runs
from .config import UsageError
from .findings import summarize
from .launch import Launcher, LocalLauncher, Outcome, RayLauncher, only_one
from .progress import say
from .report import summary, write_report
from .suites import read_suite, suite_names

if TYPE_CHECKING:
    from .cli import CompareOptions


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
        with only_one(out):
            finished = score_runs(folders, options.episodes, launcher, say)
            return report(
                summarize(" and ".join(options.targets), finished, natural_pairings(finished)), out, []
            )
    if len(options.targets) > 1:
        missing = next(folder for folder in folders if not folder.is_dir())
        raise UsageError(f"{missing} is not a folder of runs; give one suite, or folders only")
    suite = read_suite(options.targets[0])
    out = options.out or Path("comparisons") / suite.name
    with only_one(out):
        finished, failed = run_suite(suite, out, launcher, Board().show)
        if not finished:
            raise UsageError(f"no run could be finished; the first one: {failed[0].error}")
        return report(summarize(suite.name, finished, pairings(suite), suite.references), out, failed)


def report(findings: dict[str, Any], out: Path, failed: list[Outcome]) -> Compared:
    """Write the report; runs that are missing from it are named in it."""
    findings["notes"] += [f"Failed, and missing here: {each.folder} ({each.error})" for each in failed]
    return Compared(findings, summary(findings, write_report(findings, out)), failed)


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
