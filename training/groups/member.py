"""A run of a group: all that a run has when it is trained alone, but for what steps it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...agents.agent import Agent, Metrics
from ...networks.stateful import Kept
from ..run.clocks import Clock, Meter, MetricsLog, due
from ..run.loop import run_parts, write_row
from ..run.session import Checkpoints, Result, Session
from ..run.storage.checkpoint import STATE, CheckpointCorruptError, list_checkpoints, verify
from ..run.storage.packing import Part
from ..settings.usage import RunFailedError
from ..tracking.progress import say
from ..tracking.tracker import Tracker


@dataclass
class GroupClock(Clock):
    """A run's clock that also counts the steps of the group, by which the checkpoints of its runs are told to match."""

    group_step: int = 0

    def state_dict(self) -> dict[str, Any]:
        """What a clock says, and the group's steps; a run that goes on alone does not read those."""
        return super().state_dict() | {"group_step": self.group_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict(state)
        self.group_step = state.get("group_step", 0)


@dataclass
class Member:
    """One run, while its group is trained."""

    session: Session
    agent: Agent
    clock: GroupClock
    meter: Meter
    place: Kept
    """The run's share of the environments, as a `Collector` would say it: what was loaded, or is to be saved."""
    tracker: Tracker
    log: MetricsLog = field(init=False)
    checkpoints: Checkpoints = field(init=False)
    error: str | None = None
    """Why it cannot go on, if it cannot; the others do."""

    def begin(self, saved_step: int | None) -> None:
        """Be ready to train: called when everything is loaded."""
        self.log = MetricsLog(self.tracker, self.clock, self.meter)
        self.checkpoints = Checkpoints(self.session, self.parts(), saved_step)
        self.learned = self.agent.parts()

    def parts(self) -> dict[str, Part]:
        """What its checkpoints hold: what those of a run alone do."""
        return run_parts(self.agent, self.place, self.meter, self.clock)

    @property
    def active(self) -> bool:
        """Whether it is still to be trained."""
        return self.error is None and self.clock.step < self.session.config.steps

    def report(self, metrics: Metrics) -> None:
        """Take what the agent has reported."""
        self.meter.add(metrics)
        self.clock.count_update()

    def due(self, before: int) -> bool:
        """Whether anything is to be done for it but learning."""
        config, step = self.session.config, self.clock.step
        every = (config.log_every, config.checkpoint_every, config.evaluate_every)
        return step >= config.steps or any(due(each, before, step) for each in every)

    def log_if_due(self, before: int) -> None:
        """Write a row of metrics where the clock says so."""
        if due(self.session.config.log_every, before, self.clock.step):
            write_row(self.session, self.learned, self.log)

    def fail(self, error: RunFailedError) -> None:
        """Leave the group."""
        self.error = str(error)
        say(f"error: {error}")

    def result(self) -> Result:
        """How its session has ended."""
        return self.session.result()


def group_steps(run_dir: Path) -> dict[int, Path]:
    """Checkpoints of a run that are whole, by the group's step at which each was written."""
    found = {}
    for path in list_checkpoints(run_dir):
        with suppress(CheckpointCorruptError, OSError, ValueError, KeyError, TypeError):
            verify(path)
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            found[int(state["clock"]["group_step"])] = path
    return found
