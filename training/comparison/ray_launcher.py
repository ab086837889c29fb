"""Many runs at a time, as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..run.signals import StoppedError
from ..settings.usage import UsageError
from .jobs import Job, Outcome, perform
from .launchers import Launcher

# How often a task of Ray whose worker is lost is done again.
RAY_RETRIES = 100
# Seconds that the result of a finished task may take to arrive.
GET_SECONDS = 60.0


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
            pending = {task.remote(replace(job, environment=own_variables())): job for job in jobs}
            done: list[Outcome] = []
            while pending:
                ended, _ = ray.wait(list(pending), timeout=1.0)
                for reference in ended:
                    job = pending.pop(reference)
                    try:
                        # The result is there, but its node may be gone by now.
                        done.append(ray.get(reference, timeout=GET_SECONDS))
                    except ray.exceptions.GetTimeoutError:
                        done.append(Outcome(job.folder, f"Ray kept its result back for {GET_SECONDS:.0f} s"))
                    except ray.exceptions.RayError as error:
                        done.append(Outcome(job.folder, str(error).splitlines()[0]))
                watch(done)
            return done
        except StoppedError:
            raise
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


def own_variables() -> dict[str, str]:
    """Environment variables of this process for the runs, as Ray's workers have those of their own node alone."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
