"""What `palaestra compare` does from end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..run.storage.lock import locked
from ..settings.usage import UsageError
from ..tracking.progress import say
from ..tracking.wandb_publish import publish
from .analysis import analyze
from .jobs import GroupSeeds, Outcome
from .launchers import Launcher, LocalLauncher
from .processes import worker_count
from .progress_table import ProgressTable
from .ray_launcher import NO_RAY_OPTIONS, RayLauncher, RayOptions, check_ray_options
from .report.publication import comparison_publication
from .report.report import write_report
from .report.text import terminal_text
from .results import Results, merge_results, read_results
from .scoring import natural_pairings, pairings, run_suite, score_runs
from .suites import EPISODES, WHOLE, Part, part_of, read_suite, suite_names

AT_WORK = "comparison is at work"


@dataclass(frozen=True)
class Compared:
    """Outcome of a comparison."""

    findings: dict[str, Any]
    text: str
    """What to print of it."""
    failed: list[Outcome]
    page: Path
    """The report."""


def run_comparison(
    targets: Sequence[str],
    launcher: Launcher,
    out: Path | None,
    episodes: int | None,
    wandb: bool,
    part: Part = WHOLE,
) -> Compared:
    """Compare a suite's agents, finished runs, or what several comparisons have found, and write a report.

    Args:
        targets: one suite, folders of runs, or `comparison.json` files.
        launcher: what trains and scores runs.
        out: folder of runs and report; by default `comparisons/NAME`.
        episodes: evaluation episodes of each run, where folders are compared; 100 by default.
        wandb: whether a W&B run shows the findings, too.
        part: what of the suite is wanted.

    Raises:
        UsageError: the request is wrong, or nothing could be finished.
        StoppedError: a signal came.
    """
    if not targets:
        raise UsageError(
            f"what shall be compared? a suite ({', '.join(suite_names())}), a file, or folders of runs"
        )
    paths = [Path(target) for target in targets]
    if part != WHOLE and all(path.is_dir() or path.suffix == ".json" for path in paths):
        raise UsageError(f"--envs, --agents and --seeds choose from a suite; {targets[0]} is none")
    folders, files = all(path.is_dir() for path in paths), all(path.suffix == ".json" for path in paths)
    if len(paths) > 1 and not folders and not files:
        odd = next(path for path in paths if not path.is_dir())
        raise UsageError(
            f"{odd} is not a folder of runs; give one suite, folders only, or comparison.json files only"
        )
    if episodes is not None and not folders:
        raise UsageError(
            f"--episodes is for folders of runs; {targets[0]} says itself how many its scores are means of"
        )
    if files:
        merged = merge_results({str(path): read_results(path) for path in paths})
        if not merged.pairs:  # each has one agent alone, and no suite says whom it meets
            merged = replace(merged, pairs=natural_pairings(merged.runs))
        with working_in(out, "merged") as folder:
            return write_findings(merged, folder, [], wandb)
    if folders:
        with working_in(out, "runs") as folder:
            finished = score_runs(paths, episodes or EPISODES, launcher, say)
            name = " and ".join(targets)
            return write_findings(Results(name, finished, natural_pairings(finished)), folder, [], wandb)
    whole = read_suite(targets[0])
    suite = part_of(whole, part)
    with working_in(out, suite.name) as folder:
        finished, failed = run_suite(suite, folder, launcher, ProgressTable().show)
        if not finished:
            raise UsageError(f"no run could be finished; the first one: {failed[0].error}")
        missing = [f"{each.folder} ({each.error})" for each in failed]
        results = Results(suite.name, finished, pairings(whole), suite.references, missing)
        return write_findings(results, folder, failed, wandb)


@contextmanager
def working_in(out: Path | None, name: str) -> Iterator[Path]:
    """Make the folder of the report, and keep others out of it."""
    folder = out or Path("comparisons") / name
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, AT_WORK):
        yield folder


def write_findings(results: Results, out: Path, failed: list[Outcome], wandb: bool) -> Compared:
    """Write the report, to W&B too where that is wanted."""
    findings = analyze(results)
    written = write_report(findings, out)
    if wandb:
        publish(comparison_publication(findings, written), out)
    return Compared(findings, terminal_text(findings, written.page), failed, written.page)


def make_launcher(
    kind: Literal["local", "ray"],
    workers: int,
    ray: RayOptions = NO_RAY_OPTIONS,
    group_seeds: GroupSeeds = "auto",
) -> Launcher:
    """Return what does runs, `workers` at a time (0: one a core, or as many as fit into the cluster).

    Raises:
        UsageError: options of Ray are wrong, or there is no Ray to use them.
    """
    check_ray_options(kind, ray)
    return (
        RayLauncher(ray, workers, group_seeds)
        if kind == "ray"
        else LocalLauncher(worker_count(workers), group_seeds)
    )
