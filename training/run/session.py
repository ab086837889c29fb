"""One session of training: from the command to its end or a signal, in a run folder that is locked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..settings.config import CONFIG_FILE, RunConfig
from ..tracking.evaluations_file import read_evaluations, write_evaluations
from ..tracking.tracker import Tracker
from ..tracking.trackers import open_tracker
from .build import evaluation_spec
from .checkpoint import Part, save_checkpoint
from .clocks import Clock, due
from .evaluate import Actor, Evaluation, evaluate
from .folder import check_still_there


@dataclass
class Result:
    """How a session ended."""

    config: RunConfig
    step: int
    evaluation: Evaluation | None
    seconds: float
    signal: int | None = None
    """The signal that stopped the run early, if one did."""
    updates: int | None = None
    """How often something was learned, where that is known."""

    @property
    def exit_code(self) -> int:
        """0, or 128 and the signal's number."""
        return 0 if self.signal is None else 128 + self.signal


@dataclass
class Session:
    """What every loop of a run shares: its config, folder, tracker and clock, and the signals that end it."""

    config: RunConfig
    run_dir: Path
    tracker: Tracker
    clock: Clock
    signals: list[int]
    """Numbers of the signals that were caught; the first one ends the session."""
    evaluation: Evaluation | None = None
    """The last one."""
    evaluated_step: int | None = None

    def evaluate(self, actor: Actor) -> None:
        """Evaluate what acts now in the real environment, and report it; once at a step."""
        if self.evaluated_step == self.clock.step:
            return
        self.check_folder()
        self.evaluation = evaluate(actor, evaluation_spec(self.config), self.config.evaluate_episodes)
        self.evaluated_step = self.clock.step
        report_evaluation(self.run_dir, self.tracker, self.evaluation, self.clock.step)

    def check_folder(self) -> None:
        """Raise `RunEndedError` where the run's folder has been removed or moved."""
        check_still_there(self.run_dir, CONFIG_FILE)

    def evaluate_if_due(self, actor: Actor, before: int) -> None:
        """Evaluate where the clock says so, but at the end, where it is done anyway."""
        step = self.clock.step
        if due(self.config.evaluate_every, before, step) and step < self.config.steps:
            self.evaluate(actor)

    def result(self) -> Result:
        """How the session has ended."""
        stopped_by = self.signals[0] if self.signals else None
        seconds = self.clock.total_seconds
        return Result(self.config, self.clock.step, self.evaluation, seconds, stopped_by, self.clock.updates)


class Checkpoints:
    """Checkpoints of a session, none of them twice."""

    def __init__(self, session: Session, parts: Mapping[str, Part], saved_step: int | None):
        self.session = session
        self.parts = parts
        self.saved_step = saved_step

    def save(self) -> None:
        """Write a checkpoint, unless there is one of this step."""
        step = self.session.clock.step
        if step != self.saved_step:
            self.session.check_folder()
            save_checkpoint(self.session.run_dir, step, self.parts)
            self.saved_step = step

    def save_if_due(self, before: int) -> None:
        """Write a checkpoint where the clock says so, but at the end, where it is done anyway."""
        config, step = self.session.config, self.session.clock.step
        if due(config.checkpoint_every, before, step) and step < config.steps:
            self.save()


def report_evaluation(run_dir: Path, tracker: Tracker, evaluation: Evaluation, step: int) -> None:
    """Log an evaluation and add it to `evaluations.json`, replacing one of the same step."""
    summary = evaluation.summary()
    tracker.log(
        {
            "eval/return": summary["return_mean"],
            "eval/return_std": summary["return_std"],
            "eval/length": summary["length_mean"],
        },
        step,
    )
    rows = [row for row in read_evaluations(run_dir)[0] if row["step"] < step]
    write_evaluations(run_dir, [*rows, {"step": step, **evaluation.to_dict()}])


@dataclass
class Tracked:
    """A tracker that is open, and the exit code that it is closed with unless an exception ends the session."""

    tracker: Tracker
    exit_code: int = 0


@contextmanager
def tracked(
    run_dir: Path,
    mode: Any,
    *,
    env: str,
    agent: str,
    seed: int,
    config: dict[str, Any],
    resume_step: int | None,
) -> Iterator[Tracked]:
    """Open a run's tracker (see `open_tracker`), and close it with the exit code of what happens here."""
    opened = Tracked(
        open_tracker(run_dir, mode, env=env, agent=agent, seed=seed, config=config, resume_step=resume_step)
    )
    code = 1
    try:
        yield opened
        code = opened.exit_code
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        raise
    finally:
        opened.tracker.close(code)
