"""`palaestra.compare`."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .envs.registry import find_environment
from .keywords import keyword, several
from .passed import Passed
from .run_object import Run
from .training.comparison.comparison import make_launcher, run_comparison
from .training.comparison.jobs import Job, score_of, write_score
from .training.comparison.suites import EPISODES, Part
from .training.run.listing import describe_run
from .training.run.signals import StoppedError
from .training.settings.seeds import FINAL_SEED
from .training.settings.trust import may_name, named_in
from .training.settings.typed import Count, CountOrZero
from .training.settings.usage import UsageError
from .within import within

# Asks a process of its own whether it finds an environment.
FIND = "import sys; from palaestra.envs.registry import find_environment; find_environment(sys.argv[1])"


@dataclass(frozen=True)
class Comparison:
    """What a comparison has found."""

    findings: dict[str, Any]
    """What `palaestra compare --json` prints."""
    report: Path
    """The page for readers, one HTML file that needs no other; report.md, CSV files and charts lie beside it."""
    text: str
    """The same in a few lines."""
    failed: list[str]
    """Runs of a suite that could not be finished, and why."""

    def __repr__(self) -> str:
        return self.text


def compare(
    runs: Run | str | Path | Sequence[Run | str | Path],
    *,
    envs: str | Sequence[str] = (),
    agents: str | Sequence[str] = (),
    seeds: Sequence[int] = (),
    out: str | Path | None = None,
    episodes: int | None = None,
    workers: int = 0,
    wandb: bool = False,
    trust: bool = False,
    progress: bool = True,
) -> Comparison:
    """Compare runs, with statistics and a report, as `palaestra compare` does.

    Args:
        runs: a run or several, or folders of runs; or the name or file of a suite, whose runs are trained.
        envs: only these environments of a suite (or this one); by default all.
        agents: only these agents of a suite (or this one), as its report calls them; by default all.
        seeds: seeds instead of a suite's.
        out: folder of the report; by default comparisons/runs, or comparisons/SUITE.
        episodes: evaluation episodes of each run, the same seeds for all; by default 100. Suites say their own.
        workers: processes at a time; 0 is one a core. Runs with objects of this program, or in environments that
            only it registers, are evaluated here.
        wandb: put tables and charts into a W&B run, too.
        trust: import what folders name even where it is neither ours nor installed.
        progress: say on stderr how far it is.

    Returns:
        What was found; printed, it is a few lines.

    Raises:
        UsageError: there is nothing to compare, a run has not finished, or two of an agent differ in their options.
    """
    episodes, workers = keyword("episodes", episodes, Count | None), keyword("workers", workers, CountOrZero)
    numbers = keyword("seeds", list(seeds) if isinstance(seeds, Iterable) else seeds, tuple[CountOrZero, ...])
    targets: list[Run | str | Path] = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    for target in targets:
        if isinstance(target, Run):
            score(target, episodes or EPISODES, progress)
    names = [_shown(target.folder) if isinstance(target, Run) else str(target) for target in targets]
    with within(Passed(), progress, trust):
        try:
            launcher = make_launcher("local", workers)
            folder = None if out is None else Path(out)
            part = Part(several(envs), several(agents), numbers)
            compared = run_comparison(names, launcher, folder, episodes, wandb, part)
        except StoppedError:
            raise KeyboardInterrupt("stopped; the same call goes on from here") from None
    failed = [f"{each.folder}: {each.error}" for each in compared.failed]
    return Comparison(compared.findings, compared.page.resolve(), compared.text, failed)


def score(run: Run, episodes: int, progress: bool = True) -> None:
    """Evaluate a run in this process, where no other could: what it names is known, or trusted, here only.

    Raises:
        UsageError: it has not finished.
    """
    config = run.config
    if all(may_name(kind, name) for kind, name in named_in(config)) and not only_here(config["env"]):
        return
    info = describe_run(run.folder)
    if not info.finished:
        raise UsageError(f"{run.folder} has not finished; go on with: its method resume()")
    job = Job(info.agent, "", str(run.folder), info.seed, episodes)
    if score_of(job) is None:
        report = run.evaluate(episodes, seed=FINAL_SEED + info.seed, progress=progress)
        write_score(run.folder, json.dumps(report))


@functools.cache
def only_here(env_id: str) -> bool:
    """Whether an environment is registered by this program, as by a cell of a notebook: no other process has it."""
    try:
        place = find_environment(env_id).entry_point
    except ValueError:  # who evaluates says it better
        return False
    if isinstance(place, str) and place.partition(".")[0] in ("gymnasium", "palaestra"):
        return False
    # -P: as the processes that evaluate are started.
    asked = subprocess.run([sys.executable, "-P", "-c", FIND, env_id], capture_output=True)
    return asked.returncode != 0


def _shown(folder: Path) -> str:
    """A folder as people name it: from the working directory where it lies below that."""
    near = os.path.relpath(folder)
    return str(folder) if near.startswith("..") else near
