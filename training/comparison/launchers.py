"""Many runs at a time, as processes of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from ..run.signals import StoppedError, handled_signals
from .jobs import GroupSeeds, Job, Outcome, grouped, perform_together
from .processes import ask_to_stop


class Launcher(Protocol):
    """Does jobs."""

    def run(self, jobs: list[Job], watch: Callable[[list[Outcome]], None]) -> list[Outcome]:
        """Do all jobs; `watch` gets what has ended so far, about once a second.

        Raises:
            StoppedError: a signal came; the running jobs were asked to write checkpoints.
        """
        ...


class LocalLauncher(Launcher):
    """Jobs as processes of this machine, `workers` at a time."""

    def __init__(self, workers: int, group_seeds: GroupSeeds = "off"):
        self.workers = workers
        self.group_seeds = group_seeds
        self.processes: list[subprocess.Popen] = []
        self.signals: list[int] = []

    def run(self, jobs: list[Job], watch: Callable[[list[Outcome]], None]) -> list[Outcome]:
        """Do all jobs."""
        done: list[Outcome] = []
        with handled_signals(self._stop), ThreadPoolExecutor(self.workers) as pool:
            pending: set[Future[list[Outcome]]] = {
                pool.submit(perform_together, together, self._started, lambda: bool(self.signals))
                for together in grouped(jobs, self.workers, self.group_seeds)
            }
            while pending:
                ended, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                done += [outcome for future in ended for outcome in future.result()]
                if not self.signals:
                    watch(done)
        if self.signals:
            raise StoppedError(self.signals[0])
        return done

    def _started(self, process: subprocess.Popen) -> None:
        self.processes = [each for each in self.processes if each.poll() is None] + [process]
        if self.signals:
            ask_to_stop(process)

    def _stop(self, number: int) -> None:
        self.signals.append(number)
        for process in self.processes:
            if process.poll() is None:
                if len(self.signals) == 1:
                    ask_to_stop(process)
                else:  # who asks twice does not want to wait for checkpoints
                    process.kill()
