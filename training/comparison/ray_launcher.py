"""Many runs at a time, as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import math
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..run.signals import StoppedError, handled_signals
from ..settings.usage import UsageError
from ..tracking.tracker import first_line
from . import carrying
from .carrying import Home, perform_carried
from .jobs import GroupSeeds, Job, Outcome, grouped, perform_together
from .launchers import Launcher
from .processes import worker_count

# How often a task of Ray whose worker is lost is done again.
RAY_RETRIES = 100
# Seconds that the result of a finished task may take to arrive, or an answer of the actor at home.
GET_SECONDS = 60.0
# Ray counts shares of a CPU or GPU in ten-thousandths.
SMALLEST_SHARE = 0.0001

Storage = Literal["auto", "shared", "carried"]


@dataclass(frozen=True)
class RayOptions:
    """Which cluster, and what a task gets of it."""

    address: str | None = None
    """Where the cluster is; None starts one on this machine."""
    cpus: float = 1.0
    """CPUs that Ray keeps for a task; a run has one torch thread whatever they are."""
    gpus: float = 0.0
    """GPUs that Ray keeps for a task; below 1, several tasks share one."""
    storage: Storage = "auto"
    """Whether all nodes see the folders of the runs (shared), or files are sent (carried); auto: each node looks."""

    def check(self) -> None:
        """Raise `UsageError` where Ray would refuse a number, or wait for what there cannot be."""
        if self.cpus < SMALLEST_SHARE:
            raise UsageError(f"--cpus-per-run: must be at least {SMALLEST_SHARE}, got {self.cpus:g}")
        if self.gpus < 0 or 0 < self.gpus < SMALLEST_SHARE:
            raise UsageError(f"--gpus-per-run: must be 0 or at least {SMALLEST_SHARE}, got {self.gpus:g}")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise UsageError(
                f"--gpus-per-run {self.gpus:g}: Ray shares one GPU (0.5), not several: give a whole number"
            )
        if self.storage == "carried" and (self.address or "").startswith("ray://"):
            raise UsageError(
                f"--ray-storage carried: not through Ray Client ({self.address}): start the command on a node of the "
                "cluster, with --ray-address auto"
            )


NO_RAY_OPTIONS = RayOptions()


def check_ray_options(launcher: str, options: RayOptions) -> None:
    """Raise `UsageError` where options are wrong, or given to what is not Ray."""
    names = {
        "address": "ray-address",
        "cpus": "cpus-per-run",
        "gpus": "gpus-per-run",
        "storage": "ray-storage",
    }
    for field, name in names.items() if launcher != "ray" else ():
        if getattr(options, field) != getattr(NO_RAY_OPTIONS, field):
            raise UsageError(f"--{name}: only with --launcher ray")
    options.check()


class RayCluster:
    """A Ray cluster, for as long as it is entered.

    A task whose worker or node is lost is scheduled again, and goes on from the runs' last checkpoints.
    """

    def __init__(self, options: RayOptions, workers: int):
        self.options = options
        self.workers = workers
        self.ray: Any = None
        self._task: Any = None
        self._home: Any = None
        self._mark = f".shared-{uuid.uuid4().hex}"
        self._marked: set[Path] = set()

    def __enter__(self) -> RayCluster:
        """Start or join it.

        Raises:
            UsageError: there is no Ray or no cluster, or none of its nodes is large enough for one run.
        """
        self.options.check()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise UsageError("Ray is not installed; run: pip install 'palaestra[ray]'") from None
        # By default a cluster of our own, on this machine, whatever RAY_ADDRESS says.
        here = {"address": "local", "num_cpus": self._cpus_here(), "include_dashboard": False}
        address = self.options.address
        try:
            ray.init(
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(here if address is None else {"address": address}),
            )
        except (ConnectionError, ValueError) as error:
            raise UsageError(f"--ray-address {address}: {first_line(error)}") from None
        self.ray = ray
        try:
            self._check_nodes()
            share: dict[str, Any] = {"num_cpus": self.options.cpus, "num_gpus": self.options.gpus}
            self._task = ray.remote(max_retries=RAY_RETRIES, **share)(perform_on_node)
            if self._may_carry():
                from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

                where = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
                at_home: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": where}
                self._home = ray.remote(**at_home)(Home).remote()
        except BaseException:
            ray.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it; tasks that still run end, and go on from their last checkpoints in a later start."""
        self.ray.shutdown()
        for folder in self._marked:
            (folder / self._mark).unlink(missing_ok=True)

    def slots(self) -> int:
        """Tasks that fit into the cluster at a time, at least one."""
        options = self.options
        fitting = 0
        for node in self._nodes():
            by_gpus = node.get("GPU", 0) / options.gpus if options.gpus else float("inf")
            fitting += int(min(node.get("CPU", 0) / options.cpus, by_gpus))
        return max(1, fitting)

    def submit(self, jobs: list[Job]) -> Any:
        """Begin jobs as one task; returns Ray's reference to its outcomes."""
        sent = [replace(job, environment=own_variables()) for job in jobs]
        folder = jobs[0].log.parent
        if self._may_carry() and self.options.storage == "auto" and folder not in self._marked:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / self._mark).touch()
            self._marked.add(folder)
        mark = str(folder / self._mark) if self.options.storage == "auto" else ""
        return self._task.remote(sent, mark, self._home, carrying.CARRY_SECONDS)

    def outcomes(self, jobs: list[Job], reference: Any) -> list[Outcome]:
        """How the jobs of an ended task ended."""
        try:
            # The result is there, but its node may be gone by now.
            return self.ray.get(reference, timeout=GET_SECONDS)
        except self.ray.exceptions.GetTimeoutError:
            reason = f"Ray kept its result back for {GET_SECONDS:.0f} s"
        except self.ray.exceptions.RayError as error:
            reason = first_line(error)
        return [Outcome(job.folder, reason) for job in jobs]

    def begin(self, jobs: list[Job]) -> RayCommand:
        """Begin jobs as one task, to be watched as a process would be."""
        return RayCommand(self, jobs)

    def _cpus_here(self) -> int:
        """CPUs of a cluster of our own: those of this machine, or enough for so many runs at a time."""
        return worker_count(math.ceil(self.workers * self.options.cpus))

    def _may_carry(self) -> bool:
        """Whether a node may not see the folders here."""
        address = self.options.address
        if self.options.storage == "auto":
            return address is not None and not address.startswith("ray://")
        return self.options.storage == "carried"

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _check_nodes(self) -> None:
        """Raise `UsageError` where runs would wait for ever: Ray does, for a node that is large enough."""
        nodes = self._nodes()
        wanted = (("--gpus-per-run", "GPU", self.options.gpus), ("--cpus-per-run", "CPU", self.options.cpus))
        for option, name, number in wanted:
            most = max((node.get(name, 0.0) for node in nodes), default=0.0)
            if number > most:
                has = f"more than {most:g}" if most else "any"
                raise UsageError(
                    f"{option} {number:g}: no node of the cluster has {has}, so the runs would wait for ever"
                )
        if not any(all(node.get(name, 0.0) >= number for _, name, number in wanted) for node in nodes):
            both = " and ".join(f"{option} {number:g}" for option, _, number in wanted)
            raise UsageError(f"{both}: no node has both, so the runs would wait for ever")


class RayCommand:
    """Jobs at work in a cluster, with what of `subprocess.Popen` is needed to watch them."""

    def __init__(self, cluster: RayCluster, jobs: list[Job]):
        self._cluster, self._jobs = cluster, jobs
        self._reference = cluster.submit(jobs)
        self.returncode: int = 0
        self.error: str | None = None
        """Why the first job that failed did."""

    def __enter__(self) -> RayCommand:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it as it is."""

    def poll(self) -> int | None:
        """Exit code, 0 or 1, or None as long as it runs."""
        return self._ended(0.0)

    def wait(self) -> int | None:
        """Wait until it has ended, or does not seem to."""
        return self._ended(GET_SECONDS)

    def terminate(self) -> None:
        """End it; Ray kills its processes, so that a later start goes on from the last checkpoint."""
        self._cluster.ray.cancel(self._reference, force=True)

    def _ended(self, seconds: float) -> int | None:
        ended, _ = self._cluster.ray.wait([self._reference], timeout=seconds)
        if not ended:
            return None
        outcomes = self._cluster.outcomes(self._jobs, self._reference)
        self.error = next((outcome.error for outcome in outcomes if outcome.error), None)
        self.returncode = int(self.error is not None)
        return self.returncode


class RayLauncher(Launcher):
    """Jobs as tasks of a Ray cluster; seeds that may be trained together are one task."""

    def __init__(self, options: RayOptions, workers: int = 0, group_seeds: GroupSeeds = "off"):
        self.options = options
        self.workers = workers
        self.group_seeds = group_seeds

    def run(self, jobs: list[Job], watch: Callable[[list[Outcome]], None]) -> list[Outcome]:
        """Do all jobs, `workers` tasks at a time (0: as many as fit)."""
        done: list[Outcome] = []
        signals: list[int] = []
        if not jobs:
            return done
        with RayCluster(self.options, self.workers) as cluster, handled_signals(signals.append):
            units = grouped(jobs, self.workers or cluster.slots(), self.group_seeds)
            waiting, limit = iter(units), self.workers or len(units)
            pending: dict[Any, list[Job]] = {}
            while len(done) < len(jobs):
                while len(pending) < limit and (unit := next(waiting, None)) is not None:
                    pending[cluster.submit(unit)] = unit
                ended, _ = cluster.ray.wait(list(pending), timeout=1.0)
                for reference in ended:
                    done += cluster.outcomes(pending.pop(reference), reference)
                if signals:
                    raise StoppedError(signals[0])
                watch(done)
        return done


def perform_on_node(jobs: list[Job], mark: str, home: Any, seconds: float) -> list[Outcome]:
    """Do jobs at a node of a cluster.

    Args:
        jobs: to be done together.
        mark: a file that a node sees whose storage is shared; empty where nobody looks.
        home: handle of the actor at home; None where all storage is shared.
        seconds: between two times that files are brought there.
    """
    if home is None or (mark and Path(mark).is_file()):
        return perform_together(jobs)
    import ray

    try:
        return perform_carried(
            jobs,
            lambda *given: ray.get(home.fetch.remote(*given), timeout=GET_SECONDS),
            lambda *given: ray.get(home.store.remote(*given), timeout=GET_SECONDS),
            seconds,
        )
    except Exception as error:  # whatever it is, it must not stop the other runs
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return [Outcome(job.folder, f"could not be carried: {reason}") for job in jobs]


def own_variables() -> dict[str, str]:
    """Environment variables of this process for the runs, as Ray's workers have those of their own node alone."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
