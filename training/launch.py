"""Many runs: processes of this machine, or tasks of a Ray cluster. A run is trained or resumed, then scored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .config import UsageError
from .runs import describe_run

SCORE_FILE = "score.json"


@dataclass(frozen=True)
class Job:
    """A run to be trained and scored; plain values, so that it can be sent to another machine."""

    agent: str
    config: str
    """File with the run's config."""
    folder: str
    seed: int
    episodes: int

    @property
    def commands(self) -> list[list[str]]:
        """What a user would type to do the same."""
        return [
            ["train", self.agent, "--config", self.config, "--seed", str(self.seed), "--out", self.folder],
            ["evaluate", self.folder, "--episodes", str(self.episodes), "--json"],
        ]


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    folder: str
    error: str | None = None


def score_of(folder: Path, episodes: int) -> dict[str, float] | None:
    """A run's final evaluation with so many episodes, if it has been made."""
    path = folder / SCORE_FILE
    if not path.is_file():
        return None
    score = json.loads(path.read_text())
    return score if score["episodes"] == episodes else None


def perform(job: Job, started: Callable[[subprocess.Popen], None] = lambda process: None) -> Outcome:
    """Do what is left of a job: train from the start or go on, then evaluate; all of it in other processes."""
    folder = Path(job.folder)
    train, evaluate = job.commands
    if score_of(folder, job.episodes) is not None:
        return Outcome(job.folder)
    log = folder.parent / f"{folder.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if (folder / "config.yaml").is_file():
        train = ["train", "--resume", job.folder]
    if not (folder / "config.yaml").is_file() or not describe_run(folder).finished:
        code, _ = _palaestra(train, log, started)
        if code != 0:
            return Outcome(job.folder, f"{_last_line(log)} (exit code {code}; {log})")
    code, output = _palaestra(evaluate, log, started)
    if code != 0:
        return Outcome(job.folder, f"{_last_line(log)} (exit code {code}; {log})")
    temporary = folder / f"{SCORE_FILE}.tmp"
    temporary.write_text(json.dumps(json.loads(output.splitlines()[-1])))
    temporary.replace(folder / SCORE_FILE)
    return Outcome(job.folder)


def _palaestra(words: list[str], log: Path, started: Callable[[subprocess.Popen], None]) -> tuple[int, str]:
    """Run one command with one thread; its stderr goes to a log. Returns exit code and stdout."""
    command = [sys.executable, "-m", "palaestra.training.cli", *words]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | threads,
            # A Ctrl-C at the terminal is passed on by us, once.
            start_new_session=True,
        )
        started(process)
        output, _ = process.communicate()
    return process.returncode, output


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "failed without a word"


class LocalLauncher:
    """Jobs as processes of this machine, `workers` at a time."""

    def __init__(self, workers: int):
        self.workers = workers
        self.processes: set[subprocess.Popen] = set()
        self.stopping = threading.Event()

    def run(self, jobs: list[Job], watch: Callable[[list[Outcome]], None]) -> list[Outcome]:
        """Do all jobs; `watch` gets what has ended so far, about once a second.

        SIGINT and SIGTERM are passed on to the running jobs, which write checkpoints; then `KeyboardInterrupt`.
        """
        done: list[Outcome] = []
        with ThreadPoolExecutor(self.workers) as pool, self._passing_signals_on():
            pending: set[Future[Outcome]] = {pool.submit(self._perform, job) for job in jobs}
            while pending:
                ended, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                done += [future.result() for future in ended]
                watch(done)
        if self.stopping.is_set():
            raise KeyboardInterrupt
        return done

    def _perform(self, job: Job) -> Outcome:
        if self.stopping.is_set():
            return Outcome(job.folder, "not begun")
        return perform(job, self._started)

    def _started(self, process: subprocess.Popen) -> None:
        self.processes = {each for each in self.processes if each.poll() is None} | {process}
        if self.stopping.is_set():
            process.terminate()

    @contextmanager
    def _passing_signals_on(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            self.stopping.set()
            for process in self.processes:
                if process.poll() is None:
                    process.terminate()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = [signal.signal(number, stop) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, previous, strict=True):
                signal.signal(number, handler)


class RayLauncher:
    """Jobs as tasks of a Ray cluster, with the runs' folders on storage that all nodes share.

    A task whose node is lost is scheduled again, and goes on from the run's last checkpoint.
    """

    def __init__(self, workers: int, address: str | None = None):
        self.workers = workers
        self.address = address

    def run(self, jobs: list[Job], watch: Callable[[list[Outcome]], None]) -> list[Outcome]:
        """Do all jobs; `watch` gets what has ended so far, about once a second."""
        try:
            import ray
        except ImportError:
            raise UsageError("Ray is not installed; run: pip install 'palaestra[ray]'") from None

        ray.init(
            address=self.address,
            num_cpus=None if self.address else self.workers,
            include_dashboard=False,
            log_to_driver=False,
        )
        try:
            task = ray.remote(num_cpus=1, max_retries=-1)(perform)
            pending = [task.remote(job) for job in jobs]
            done: list[Outcome] = []
            while pending:
                ended, pending = ray.wait(pending, timeout=1.0)
                done += ray.get(ended)
                watch(done)
            return done
        finally:
            ray.shutdown()


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Keep a second comparison out of a folder, so that no run is done twice."""
    import fcntl

    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another comparison is at work in {out}") from None
        yield
