"""One run of a comparison: trained or resumed, then scored, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..run.listing import SUMMARY_FILE, describe_run
from ..run.storage.folder import check_links
from ..run.storage.lock import LOCK_FILE, only_mine
from ..settings.config import CONFIG_FILE
from ..settings.seeds import FINAL_SEED
from ..settings.trust import trusts_everything
from ..tracking.evaluations_file import write_json
from .processes import begin, last_line

SCORE_FILE = "score.json"
GroupSeeds = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class Job:
    """A run to be trained and scored; plain values, so that it can be sent to another machine."""

    agent: str
    config: str
    """File with the run's config."""
    folder: str
    seed: int
    episodes: int
    """Evaluation episodes; 0: it is trained, and not scored."""
    home: str = field(default_factory=os.getcwd)
    """Where paths begin, and the user's own modules lie."""
    group: str = ""
    """Runs of one config may be trained in one process: the `--compile` that each would choose alone; empty: they
    may not."""
    trust: bool = field(default_factory=trusts_everything)
    """Whether the run's files may name code from outside."""
    environment: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Environment variables that another machine may lack."""

    @property
    def commands(self) -> list[list[str]]:
        """What a user would type to do the same."""
        seed, episodes = str(FINAL_SEED + self.seed), str(self.episodes)
        train = ["train", self.agent, "--config", self.config, "--seed", str(self.seed), "--out", self.folder]
        evaluate = ["evaluate", self.folder, "--episodes", episodes, "--seed", seed, "--json"]
        return [[*words, *self.trusted] for words in ((train, evaluate) if self.episodes else (train,))]

    @property
    def trusted(self) -> list[str]:
        """The word that passes the user's trust on."""
        return ["--trust"] if self.trust else []

    @property
    def path(self) -> Path:
        """Folder of the run."""
        return Path(self.home) / self.folder

    @property
    def log(self) -> Path:
        """File in the folder's parent, for the run's stderr."""
        return self.path.parent / f"{self.path.name}.log"


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    folder: str
    error: str | None = None


def score_of(job: Job) -> dict[str, float] | None:
    """A run's final evaluation, if it has been made of what the run has learned by now."""
    try:
        score = json.loads((job.path / SCORE_FILE).read_text(encoding="utf-8"))
        steps = json.loads((job.path / SUMMARY_FILE).read_text(encoding="utf-8"))["step"]
        found = (score["episodes"], score["seed"], score["steps_trained"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # damaged files are written again
        return None
    return score if found == (job.episodes, FINAL_SEED + job.seed, steps) else None


def perform(
    job: Job,
    started: Callable[[subprocess.Popen], None] = lambda process: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Do what is left of a job: train from the start or go on, then evaluate; all of it in other processes."""
    try:
        if score_of(job) is not None:
            return Outcome(job.folder)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        wait_until_free(job.path, stopped)
        for words in steps_left(job):
            if stopped():
                return Outcome(job.folder, "stopped")
            code, output = _palaestra(words, job, started)
            if code != 0:
                return Outcome(job.folder, f"{last_line(job.log)} (exit code {code}; {job.log})")
        if job.episodes:
            write_score(job.path, output)
    except Exception as error:  # whatever it is, it must not stop the other runs
        return Outcome(job.folder, " ".join(f"{type(error).__name__}: {error}".split()))
    return Outcome(job.folder)


def perform_together(
    jobs: list[Job],
    started: Callable[[subprocess.Popen], None] = lambda process: None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Do jobs that differ in their seeds: train them in one process, then end each by itself.

    What that process leaves undone, each does alone: it goes on from where it is, or says why it cannot.
    """
    try:
        for job in jobs if len(jobs) > 1 else []:
            wait_until_free(job.path, stopped)
        for words in trained_together(jobs):
            if not stopped():
                jobs[0].log.parent.mkdir(parents=True, exist_ok=True)
                _palaestra(words, jobs[0], started)
    except Exception as error:  # whatever it is, it must not stop the other runs
        return [Outcome(job.folder, " ".join(f"{type(error).__name__}: {error}".split())) for job in jobs]
    return [perform(job, started, stopped) for job in jobs]


def trained_together(jobs: list[Job]) -> list[list[str]]:
    """Commands that train, several runs at once, what is not finished; none where one run or none is left."""
    if len(jobs) < 2:
        return []
    missing = [job for job in jobs if score_of(job) is None]
    begun = [job for job in missing if (job.path / CONFIG_FILE).is_file()]
    new, going = (
        [job for job in missing if job not in begun],
        [job for job in begun if not describe_run(job.path).finished],
    )
    commands = []
    if len(going) > 1:
        commands.append(["train", "--resume", *(job.folder for job in going)])
    if len(new) > 1:
        first, seeds = new[0], ",".join(str(job.seed) for job in new)
        parent = str(Path(first.folder).parent)
        words = ["train", first.agent, "--config", first.config, "--seeds", f"[{seeds}]", "--out", parent]
        commands.append([*words, *(["--compile", first.group] if first.group else [])])
    return [[*words, *jobs[0].trusted] for words in commands]


def grouped(jobs: list[Job], workers: int, mode: GroupSeeds) -> list[list[Job]]:
    """Jobs to be done together: `auto` leaves every worker something to do, `on` takes all seeds of a config."""
    share = len(jobs) if mode == "on" else -(-len(jobs) // workers)
    units: list[list[Job]] = []
    open_units: dict[tuple[str, Path], list[Job]] = {}
    for job in jobs:
        fits = job.group and mode != "off" and Path(job.folder).name == f"seed{job.seed}"
        key = job.config, Path(job.folder).parent
        unit = open_units.get(key) if fits else None
        if unit is None or len(unit) >= share:
            unit = []
            units.append(unit)
            if fits:
                open_units[key] = unit
        unit.append(job)
    return units


def steps_left(job: Job) -> list[list[str]]:
    """Commands that finish a job, from whatever a kill has left of it."""
    train, *scoring = job.commands
    if (job.path / CONFIG_FILE).is_file():
        finished = describe_run(job.path).finished
        return scoring if finished else [["train", "--resume", job.folder, *job.trusted], *scoring]
    # Killed while it wrote its config: nothing of a run is there yet, but its folder would not count as new.
    (job.path / f"{CONFIG_FILE}.tmp").unlink(missing_ok=True)
    return [train, *scoring]


def write_score(run_dir: Path, output: str) -> None:
    """Keep what `evaluate --json` has printed, whole or not at all."""
    check_links(run_dir)
    write_json(run_dir / SCORE_FILE, json.loads(output.splitlines()[-1]), indent=None)


def wait_until_free(run_dir: Path, stopped: Callable[[], bool]) -> None:
    """Wait while a process is at work in a run: one that outlived a killed comparison stops within seconds."""
    while (run_dir / LOCK_FILE).exists() and not stopped():
        with only_mine(run_dir) as mine:
            if mine:
                return
        time.sleep(0.2)


def _palaestra(words: list[str], job: Job, started: Callable[[subprocess.Popen], None]) -> tuple[int, str]:
    """Run one command; returns its exit code and stdout."""
    with begin(words, job.log, job.home, job.environment) as process:
        started(process)
        assert process.stdout is not None
        output = process.stdout.read()
    return process.returncode, output
