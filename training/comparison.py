"""What `palaestra compare` does from end to end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .board import Board
from .compare import natural_pairings, pairings, run_suite, score_runs, summarize
from .config import UsageError
from .launch import LocalLauncher, Outcome, RayLauncher
from .progress import say
from .report import summary, write_report
from .suites import read_suite, suite_names

if TYPE_CHECKING:
    from .cli import CompareOptions


def run_comparison(options: CompareOptions) -> tuple[dict[str, Any], str, list[Outcome]]:
    """Compare a suite's agents, or finished runs.

    Returns:
        The comparison as plain values, what to print of it, and the runs that failed.

    Raises:
        UsageError: the request is wrong, or nothing could be finished.
    """
    launcher = make_launcher(options)
    if not options.targets:
        raise UsageError(
            f"what shall be compared? a suite ({', '.join(suite_names())}), a file, or folders of runs"
        )
    folders = [Path(target) for target in options.targets]
    failed: list[Outcome] = []
    if all(folder.is_dir() for folder in folders):
        out = options.out or Path("comparisons") / "runs"
        finished = score_runs(folders, options.episodes, launcher, say)
        name, pairs = " and ".join(options.targets), natural_pairings(finished)
    elif len(options.targets) == 1:
        suite = read_suite(options.targets[0])
        out = options.out or Path("comparisons") / suite.name
        finished, failed = run_suite(suite, out, launcher, Board().show)
        name, pairs = suite.name, pairings(suite)
    else:
        missing = next(folder for folder in folders if not folder.is_dir())
        raise UsageError(f"{missing} is not a folder of runs; give one suite, or folders only")
    if not finished:
        raise UsageError(f"no run could be finished; the first one: {failed[0].error}")
    out.mkdir(parents=True, exist_ok=True)
    comparison = summarize(name, finished, pairs)
    path = write_report(comparison, out)
    return comparison, summary(comparison, path), failed


def make_launcher(options: CompareOptions) -> LocalLauncher | RayLauncher:
    """Return what starts the runs."""
    if options.workers < 0:
        raise UsageError(f"--workers: must be at least 0, got {options.workers}")
    workers = options.workers or os.cpu_count() or 1
    if options.launcher == "ray":
        return RayLauncher(workers, options.ray_address)
    if options.ray_address is not None:
        raise UsageError("--ray-address: only with --launcher ray")
    return LocalLauncher(workers)
