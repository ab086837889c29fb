"""Runs on machines that do not see the folders at home: carried there as bytes, and back while they go on.

Nothing is unpickled but what Ray itself sends: a file arrives as its bytes, and is read as any other run's is.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..run.storage.lock import LOCK_FILE
from .jobs import Job, Outcome, perform_together

# Seconds between two times that a run's files are brought home: a lost machine costs no more, and the time since its
# last checkpoint.
CARRY_SECONDS = 10.0
# A checkpoint may be removed while it is read; then everything is read again.
TRIES = 5
CONFIG, CHECKPOINTS, LOG_SUFFIX = "config", "checkpoints", ".log"

Files = dict[str, bytes]
Stamps = dict[str, tuple[int, int]]
Fetch = Callable[[list[Job]], tuple[int, Files]]
Store = Callable[[list[Job], int, Files, list[str]], bool]


class Home:
    """The machine where the command was given. In a cluster, an actor there."""

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}

    def fetch(self, jobs: list[Job]) -> tuple[int, Files]:
        """Return all files of the jobs, and the number of the turn that begins: earlier ones may store no more."""
        turn = self._turns[jobs[0].folder] = self._turns.get(jobs[0].folder, 0) + 1
        files, _ = changed(jobs, {})
        if jobs[0].config:
            files[CONFIG] = (Path(jobs[0].home) / jobs[0].config).read_bytes()
        return turn, files

    def store(self, jobs: list[Job], turn: int, files: Files, names: list[str]) -> bool:
        """Write files that have changed and remove those that are gone; False where a later turn has begun."""
        if self._turns.get(jobs[0].folder) != turn:
            return False
        write(jobs, files, names)
        return True


def stamps(jobs: list[Job]) -> Stamps:
    """Size and time of all files of jobs; by name, `NUMBER/FILE` and `NUMBER.log`. Links and locks are left out."""
    found: Stamps = {}
    for number, job in enumerate(jobs):
        if job.log.is_file() and not job.log.is_symlink():
            found[f"{number}{LOG_SUFFIX}"] = _stamp(job.log)
        for place, folders, files in os.walk(job.path):
            if Path(place).name == CHECKPOINTS:
                folders[:] = [name for name in folders if not name.endswith(".tmp")]
            for name in files:
                path = Path(place) / name
                if name != LOCK_FILE and not name.endswith(".tmp") and not path.is_symlink():
                    found[f"{number}/{path.relative_to(job.path).as_posix()}"] = _stamp(path)
    return found


def changed(jobs: list[Job], known: Stamps) -> tuple[Files, Stamps]:
    """Files of jobs that are not as they are known to be, and what is known now; the jobs may be at work.

    Checkpoints are read first. Files that grow, read later, so hold every row that a checkpoint counts on.

    Raises:
        FileNotFoundError: files went away as fast as they were read.
    """
    for last in (False,) * (TRIES - 1) + (True,):
        try:
            now = stamps(jobs)
            names = sorted((name for name in now if known.get(name) != now[name]), key=_checkpoints_first)
            return {name: place_of(jobs, name).read_bytes() for name in names}, now
        except FileNotFoundError:
            if last:
                raise
    raise AssertionError("unreachable")


def write(jobs: list[Job], files: Files, names: list[str]) -> None:
    """Write files, checkpoints last, each whole or not at all; then remove what is not among `names`.

    Raises:
        ValueError: a name leads out of the folders of the jobs.
    """
    places = {name: place_of(jobs, name) for name in files}
    for name in sorted(files, key=_checkpoints_first, reverse=True):
        path = places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.unlink(missing_ok=True)
        temporary.write_bytes(files[name])
        temporary.replace(path)
    for name in set(stamps(jobs)) - set(names):
        path = place_of(jobs, name)
        path.unlink(missing_ok=True)
        if path.parent.parent.name == CHECKPOINTS and not any(path.parent.iterdir()):
            path.parent.rmdir()


def place_of(jobs: list[Job], name: str) -> Path:
    """Where a file of jobs lies.

    Raises:
        ValueError: not in the folder of one of them.
    """
    first, _, rest = name.partition("/")
    number = first.removesuffix(LOG_SUFFIX)
    parts = PurePosixPath(rest).parts
    if not number.isdecimal() or int(number) >= len(jobs) or rest.startswith("/") or ".." in parts:
        raise ValueError(f"{name!r} is no file of these runs")
    job = jobs[int(number)]
    if not rest:
        return job.log
    path = job.path.joinpath(*parts)
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(job.path)):
        raise ValueError(f"{name!r} is no file of these runs")
    return path


def perform_carried(jobs: list[Job], fetch: Fetch, store: Store, seconds: float) -> list[Outcome]:
    """Do jobs in a folder of this machine's own, bringing their files home every few seconds and at the end."""
    with tempfile.TemporaryDirectory(prefix="palaestra-") as root:
        here = [replace(job, home=root, folder=_inside(job)) for job in jobs]
        turn, files = fetch(jobs)
        if CONFIG in files:
            (Path(root) / "config.yaml").write_bytes(files.pop(CONFIG))
            here = [replace(job, config="config.yaml") for job in here]
        write(here, files, list(files))
        carrier = Carrier(jobs, here, turn, store)
        ended = threading.Event()
        thread = threading.Thread(target=carrier.carry_until, args=(ended, seconds), daemon=True)
        thread.start()
        try:
            outcomes = perform_together(here, carrier.started, lambda: carrier.outrun)
        finally:
            ended.set()
            thread.join()
        carrier.carry()
        return [
            Outcome(job.folder, outcome.error and at_home(outcome.error, job, there))
            for job, there, outcome in zip(jobs, here, outcomes, strict=True)
        ]


def at_home(text: str, job: Job, there: Job) -> str:
    """What was said of a job where it was done, with its paths at home."""
    root = f"{there.home}{os.sep}"
    folder = re.compile(f"(?:{re.escape(root)})?{re.escape(there.folder)}")
    return folder.sub(lambda _: job.folder, text).replace(root, "")


class Carrier:
    """Brings the files of runs home while they go on."""

    def __init__(self, jobs: list[Job], here: list[Job], turn: int, store: Store):
        self._jobs, self._here, self._turn, self._store = jobs, here, turn, store
        self._known = stamps(here)
        self._processes: list[subprocess.Popen] = []
        self.outrun = False
        """The runs are done elsewhere by now: this machine was taken for lost."""

    def started(self, process: subprocess.Popen) -> None:
        """Note a process of the runs."""
        self._processes = [each for each in self._processes if each.poll() is None] + [process]

    def carry(self) -> None:
        """Bring home what has changed."""
        files, now = changed(self._here, self._known)
        for number, (job, there) in enumerate(zip(self._jobs, self._here, strict=True)):
            if log := files.get(f"{number}{LOG_SUFFIX}"):
                said = at_home(log.decode(errors="surrogateescape"), job, there)
                files[f"{number}{LOG_SUFFIX}"] = said.encode(errors="surrogateescape")
        if not self._store(self._jobs, self._turn, files, list(now)):
            self.outrun = True
        self._known = now

    def carry_until(self, ended: threading.Event, seconds: float) -> None:
        """Bring files home every few seconds; what fails is tried again, and at the end it counts."""
        while not self.outrun and not ended.wait(seconds):
            try:
                self.carry()
            except Exception:
                continue
        for process in self._processes if self.outrun else []:
            process.terminate()


def _inside(job: Job) -> str:
    """A job's folder below another root: the same path, where that leads nowhere else."""
    path = Path(job.folder)
    outside = path.is_absolute() or ".." in path.parts
    return os.path.abspath(job.path).lstrip(os.sep) if outside else job.folder


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _checkpoints_first(name: str) -> bool:
    return CHECKPOINTS not in PurePosixPath(name).parts[:-1]
