"""Many runs: processes of this machine, or tasks of a Ray cluster. A run is trained or resumed, then scored."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..run.listing import describe_run
from ..run.lock import LOCK_FILE, only_mine
from ..run.signals import handled_signals
from ..settings.config import CONFIG_FILE
from ..settings.seeds import FINAL_SEED
from ..settings.usage import UsageError

SCORE_FILE = "score.json"
# Seconds that a process whose parent is gone may take to end by itself.
GRACE = 5.0
# How often a task of Ray whose worker is lost is done again.
RAY_RETRIES = 100


class StoppedError(Exception):
    """A signal stopped a comparison; everything that is missing can be done later."""

    def __init__(self, number: int):
        self.number = number


@dataclass(frozen=True)
class Job:
    """A run to be trained and scored; plain values, so that it can be sent to another machine."""

    agent: str
    config: str
    """File with the run's config."""
    folder: str
    seed: int
    episodes: int
    home: str = field(default_factory=os.getcwd)
    """Where paths begin, and the user's own modules lie."""

    @property
    def commands(self) -> list[list[str]]:
        """What a user would type to do the same."""
        seed, episodes = str(FINAL_SEED + self.seed), str(self.episodes)
        return [
            ["train", self.agent, "--config", self.config, "--seed", str(self.seed), "--out", self.folder],
            ["evaluate", self.folder, "--episodes", episodes, "--seed", seed, "--json"],
        ]

    @property
    def path(self) -> Path:
        """Folder of the run."""
        return Path(self.home) / self.folder

    @property
    def log(self) -> Path:
        """File beside the folder, for what the run says on stderr."""
        return self.path.parent / f"{self.path.name}.log"


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    folder: str
    error: str | None = None


class Launcher(Protocol):
    """Does jobs."""

    def run(self, jobs: list[Job], watch: Callable[[list[Outcome]], None]) -> list[Outcome]:
        """Do all jobs; `watch` gets what has ended so far, about once a second.

        Raises:
            StoppedError: a signal came; the running jobs were told to write checkpoints.
        """
        ...


def score_of(job: Job) -> dict[str, float] | None:
    """A run's final evaluation, if it has been made of what the run has learned by now."""
    try:
        score = json.loads((job.path / SCORE_FILE).read_text())
        steps = json.loads((job.path / "summary.json").read_text())["step"]
    except FileNotFoundError:
        return None
    found = (score["episodes"], score["seed"], score["steps_trained"])
    return score if found == (job.episodes, FINAL_SEED + job.seed, steps) else None


# -- One job --------------------------------------------------------------------------------------------------------


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
        write_score(job.path, output)
    except Exception as error:  # whatever it is, it must not stop the other runs
        return Outcome(job.folder, " ".join(f"{type(error).__name__}: {error}".split()))
    return Outcome(job.folder)


def steps_left(job: Job) -> list[list[str]]:
    """Commands that finish a job, from whatever a kill has left of it."""
    train, evaluate = job.commands
    if (job.path / CONFIG_FILE).is_file():
        finished = describe_run(job.path).finished
        return [evaluate] if finished else [["train", "--resume", job.folder], evaluate]
    # Killed while it wrote its config: nothing of a run is there yet, but its folder would not count as new.
    (job.path / f"{CONFIG_FILE}.tmp").unlink(missing_ok=True)
    return [train, evaluate]


def write_score(run_dir: Path, output: str) -> None:
    """Keep what `evaluate --json` has printed, whole or not at all."""
    temporary = run_dir / f"{SCORE_FILE}.tmp"
    temporary.write_text(json.dumps(json.loads(output.splitlines()[-1])))
    temporary.replace(run_dir / SCORE_FILE)


def wait_until_free(run_dir: Path, stopped: Callable[[], bool]) -> None:
    """Wait while a process is at work in a run: one that outlived a killed comparison stops within seconds."""
    while (run_dir / LOCK_FILE).exists() and not stopped():
        with only_mine(run_dir) as mine:
            if mine:
                return
        time.sleep(0.2)


def begin(words: list[str], log: Path, home: str | None = None) -> subprocess.Popen:
    """Start one command with one thread; its stderr goes to a log. It ends when this process does."""
    command = [sys.executable, "-m", "palaestra.training.comparison.launch", *words]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with log.open("a") as errors:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | threads,
            cwd=home,
            # A Ctrl-C at the terminal is passed on by us, once: a second signal would cost the checkpoint.
            start_new_session=True,
        )


def _palaestra(words: list[str], job: Job, started: Callable[[subprocess.Popen], None]) -> tuple[int, str]:
    """Run one command; returns its exit code and stdout."""
    with begin(words, job.log, job.home) as process:
        started(process)
        assert process.stdout is not None
        output = process.stdout.read()
    return process.returncode, output


def last_line(log: Path) -> str:
    """What a command said last."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "failed without a word"


def follow(words: list[str]) -> int:
    """Run a command that stops, with a checkpoint, when the process that began it is gone."""
    from ..cli.main import run

    threading.Thread(target=_stop_with_parent, daemon=True).start()
    return run(words)


def _stop_with_parent() -> None:
    # Our end of a pipe that the parent never writes to: it ends when the parent does. Not by way of sys.stdin, whose
    # lock would be held when the interpreter ends.
    os.read(0, 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody is there to read what the command says at its end
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        os.kill(os.getpid(), signal.SIGTERM)  # the training loop writes a checkpoint
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


# -- All of them ----------------------------------------------------------------------------------------------------


class LocalLauncher(Launcher):
    """Jobs as processes of this machine, `workers` at a time."""

    def __init__(self, workers: int):
        self.workers = workers
        self.processes: list[subprocess.Popen] = []
        self.signals: list[int] = []

    def run(self, jobs: list[Job], watch: Callable[[list[Outcome]], None]) -> list[Outcome]:
        """Do all jobs."""
        done: list[Outcome] = []
        with handled_signals(self._stop), ThreadPoolExecutor(self.workers) as pool:
            pending: set[Future[Outcome]] = {
                pool.submit(perform, job, self._started, lambda: bool(self.signals)) for job in jobs
            }
            while pending:
                ended, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                done += [future.result() for future in ended]
                if not self.signals:
                    watch(done)
        if self.signals:
            raise StoppedError(self.signals[0])
        return done

    def _started(self, process: subprocess.Popen) -> None:
        self.processes = [each for each in self.processes if each.poll() is None] + [process]
        if self.signals:
            process.terminate()

    def _stop(self, number: int) -> None:
        self.signals.append(number)
        for process in self.processes:
            if process.poll() is None:
                # Who asks twice does not want to wait for checkpoints.
                process.send_signal(signal.SIGTERM if len(self.signals) == 1 else signal.SIGKILL)


class RayLauncher(Launcher):
    """Jobs as tasks of a Ray cluster, one core each, with the runs' folders on storage that all nodes share.

    A task whose worker or node is lost is scheduled again, and goes on from the run's last checkpoint.
    """

    def __init__(self, workers: int, address: str | None = None):
        self.workers = workers
        self.address = address

    def run(self, jobs: list[Job], watch: Callable[[list[Outcome]], None]) -> list[Outcome]:
        """Do all jobs."""
        ray = self._start()
        try:
            task = ray.remote(num_cpus=1, max_retries=RAY_RETRIES)(perform)
            pending = {task.remote(job): job for job in jobs}
            done: list[Outcome] = []
            while pending:
                ended, _ = ray.wait(list(pending), timeout=1.0)
                for reference in ended:
                    job = pending.pop(reference)
                    try:
                        done.append(ray.get(reference))
                    except ray.exceptions.RayError as error:
                        done.append(Outcome(job.folder, str(error).splitlines()[0]))
                watch(done)
            return done
        except KeyboardInterrupt:
            raise StoppedError(signal.SIGINT) from None
        finally:
            ray.shutdown()

    def _start(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise UsageError("Ray is not installed; run: pip install 'palaestra[ray]'") from None
        # By default a cluster of our own, on this machine, whatever RAY_ADDRESS says.
        here = {"address": "local", "num_cpus": self.workers, "include_dashboard": False}
        options = here if self.address is None else {"address": self.address}
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, ValueError) as error:
            raise UsageError(f"--ray-address {self.address}: {str(error).splitlines()[0]}") from None
        return ray


if __name__ == "__main__":
    sys.exit(follow(sys.argv[1:]))
