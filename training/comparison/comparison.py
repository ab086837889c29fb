"""What `palaestra compare` does from end to end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..run.lock import locked
from ..settings.usage import UsageError
from ..tracking.progress import say
from ..tracking.wandb_tracker import publish
from .board import Board
from .compare import natural_pairings, pairings, run_suite, score_runs
from .comparison_wandb import comparison_findings
from .findings import summarize
from .launch import Launcher, LocalLauncher, Outcome, RayLauncher
from .report import summary, write_report
from .results import Results, merge_results, read_results
from .suites import read_suite, suite_names

if TYPE_CHECKING:
    from ..cli.main import CompareOptions


AT_WORK = "comparison is at work"


@dataclass(frozen=True)
class Compared:
    """What a comparison came to."""

    findings: dict[str, Any]
    text: str
    """What to print of it."""
    failed: list[Outcome]


def run_comparison(options: CompareOptions) -> Compared:
    """Compare a suite's agents, finished runs, or what several comparisons have found, and write a report.

    Raises:
        UsageError: the request is wrong, or nothing could be finished.
        StoppedError: a signal came.
    """
    launcher = make_launcher(options)
    if not options.targets:
        raise UsageError(
            f"what shall be compared? a suite ({', '.join(suite_names())}), a file, or folders of runs"
        )
    paths = [Path(target) for target in options.targets]
    if all(path.suffix == ".json" for path in paths):
        merged = merge_results({str(path): read_results(path) for path in paths})
        with working_in(options, "merged") as out:
            return report(merged, out, [], options.wandb)
    if all(path.is_dir() for path in paths):
        with working_in(options, "runs") as out:
            finished = score_runs(paths, options.episodes, launcher, say)
            name = " and ".join(options.targets)
            return report(Results(name, finished, natural_pairings(finished)), out, [], options.wandb)
    if len(paths) > 1:
        odd = next(path for path in paths if not path.is_dir())
        raise UsageError(
            f"{odd} is not a folder of runs; give one suite, folders only, or comparison.json files only"
        )
    suite = read_suite(options.targets[0])
    with working_in(options, suite.name) as out:
        finished, failed = run_suite(suite, out, launcher, Board().show)
        if not finished:
            raise UsageError(f"no run could be finished; the first one: {failed[0].error}")
        missing = [f"{each.folder} ({each.error})" for each in failed]
        results = Results(suite.name, finished, pairings(suite), suite.references, missing)
        return report(results, out, failed, options.wandb)


@contextmanager
def working_in(options: CompareOptions, name: str) -> Iterator[Path]:
    """Make the folder of the report, and keep others out of it."""
    out = options.out or Path("comparisons") / name
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, AT_WORK):
        yield out


def report(results: Results, out: Path, failed: list[Outcome], wandb: bool) -> Compared:
    """Write the report, to W&B too where that is wanted."""
    findings = summarize(results)
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
