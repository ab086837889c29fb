"""When things are due, where a run stands, and rows of metrics: the same in every training loop."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...agents.agent import Metrics
from ...envs.vector import Episode
from ..settings.resources import cpu_seconds_of
from ..settings.usage import UsageError
from ..tracking.tracker import Tracker

# First parts of the names of what is measured here, whatever learns.
MEASURED = ("episode", "eval", "time", "env")


def due(every: int, before: int, step: int) -> bool:
    """Whether a multiple of `every` lies in `(before, step]`; 0 means never."""
    return every > 0 and step // every > before // every


def cpu_seconds() -> float:
    """Seconds that CPU cores have worked for this process: its threads, and workers of environments of its own.

    Of workers that still run, systems without `/proc` say nothing; they are counted when they have ended.
    """
    times = os.times()
    ended = times.user + times.system + times.children_user + times.children_system
    return ended + sum(cpu_seconds_of(str(worker.pid)) for worker in multiprocessing.active_children())


def has_double(value: torch.Tensor) -> bool:
    """Whether a tensor's device knows numbers of 64 bits; Apple's does not."""
    return value.device.type != "mps"


@dataclass
class Clock:
    """Where a run stands: environment steps, seconds and CPU seconds spent, over all its sessions."""

    step: int = 0
    seconds: float = 0.0
    cpu: float | None = 0.0
    """CPU seconds before this session; None where an older version has begun and did not count."""
    updates: int | None = 0
    """How often something was learned; None where an older version has begun and did not count."""
    cpu_share: float = 1.0
    """The run's part of this process's CPU seconds."""
    _started: float = field(default_factory=time.perf_counter)
    _cpu_started: float = field(default_factory=cpu_seconds)

    @property
    def total_seconds(self) -> float:
        """Seconds of training, earlier sessions included."""
        return self.seconds + time.perf_counter() - self._started

    @property
    def total_cpu(self) -> float | None:
        """CPU seconds of training, earlier sessions included; None where they are not known."""
        return None if self.cpu is None else self.cpu + self.cpu_share * (cpu_seconds() - self._cpu_started)

    def count_once(self, cpu: float) -> None:
        """Count CPU seconds of this session as they are: no other process has worked as long meanwhile."""
        if self.cpu is not None:
            self.cpu -= (self.cpu_share - 1) * cpu

    def share_cpu(self, share: float) -> None:
        """Count another part of this process's CPU seconds from now on."""
        self.cpu, self._cpu_started = self.total_cpu, cpu_seconds()
        self.cpu_share = share

    def advance(self, steps: int) -> int:
        """Count steps; returns the step before."""
        before, self.step = self.step, self.step + steps
        return before

    def count_update(self) -> None:
        """Count that something was learned."""
        if self.updates is not None:
            self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Steps, seconds, CPU seconds and updates."""
        spent = {"seconds": self.total_seconds, "cpu": self.total_cpu}
        return {"step": self.step, **spent, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.step, self.seconds, self._started = state["step"], state["seconds"], time.perf_counter()
        self.cpu, self._cpu_started = state.get("cpu"), cpu_seconds()
        self.updates = state.get("updates")


def check_metric(name: str, value: Any) -> None:
    """Raise UsageError where what is reported while learning cannot be logged under that name."""
    first, slash, _ = name.partition("/")
    if name == "step" or (slash and first in MEASURED):
        raise UsageError(
            f"a metric named {name!r} is reported by what learns; that name is taken, give another one"
        )
    single = value.numel() == 1 if isinstance(value, torch.Tensor) else np.ndim(value) == 0
    if not single or not isinstance(value, torch.Tensor | float | int | np.number | np.ndarray):
        what = f"{type(value).__name__}{tuple(np.shape(value)) or ''}"
        raise UsageError(f"the metric {name!r} that is reported by what learns is no number but {what}")


@dataclass
class Meter:
    """Means of what was reported since the last log; tensors on a GPU are read only then."""

    sums: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, metrics: Metrics) -> None:
        """Add one report.

        Raises:
            UsageError: it has the name of what is measured here, or is no number.
        """
        for name, value in metrics.items():
            if name not in self.counts:
                check_metric(name, value)
        self._add(metrics)

    def _add(self, metrics: Metrics) -> None:
        for name, value in metrics.items():
            # A sum of 32 bits would stop growing after some million reports.
            if not isinstance(value, torch.Tensor):
                number: Any = float(value)
            elif value.is_cpu:
                number = value.item()  # costs less than adding two tensors; a GPU would have to be waited for
            else:
                number = value.double() if has_double(value) else value
            self.sums[name] = self.sums.get(name, 0.0) + number
            self.counts[name] = self.counts.get(name, 0) + 1

    def add_episodes(self, episodes: list[Episode]) -> None:
        """Add finished episodes."""
        for episode in episodes:
            self._add({"episode/return": episode.episode_return, "episode/length": float(episode.length)})

    def read(self) -> dict[str, float]:
        """Return the means and start over."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts so far."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from sums and counts."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


class MetricsLog:
    """Rows of metrics: the meter's means, speed of training since the row before, and what was spent so far."""

    def __init__(self, tracker: Tracker, clock: Clock, meter: Meter):
        self.tracker = tracker
        self.clock = clock
        self.meter = meter
        self.step, self.time = clock.step, time.perf_counter()

    def write(self, restarts: int = 0) -> None:
        """Write a row, with the number of environments that were made anew where there is one."""
        now, step = time.perf_counter(), self.clock.step
        more: dict[str, float] = {"env/restarts": restarts} if restarts else {}
        more["time/steps_per_second"] = (step - self.step) / (now - self.time)
        more["time/total"] = self.clock.total_seconds
        if (cpu := self.clock.total_cpu) is not None:
            more["time/cpu"] = cpu
        self.tracker.log(self.meter.read() | more, step)
        self.step, self.time = step, now

    def leave_out(self, seconds: float) -> None:
        """Count seconds since the row before as none of training."""
        self.time += seconds
