"""One session of training: from the command to its end or a signal, in a run folder that is locked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...agents.divergence import broken_metric, broken_part
from ...envs.actions import ActionError, ActionFormError
from ..settings.config import CONFIG_FILE, RunConfig, to_dict
from ..settings.trust import command_for
from ..settings.usage import RunFailedError
from ..tracking.evaluations_file import read_evaluations, write_evaluations
from ..tracking.tracker import Tracker
from ..tracking.trackers import open_tracker
from .build import evaluation_spec
from .clocks import Clock, Meter, due
from .evaluate import Actor, Evaluation, evaluate
from .generators import left_by_evaluation
from .signals import StoppedError
from .storage.checkpoint import list_checkpoints, save_checkpoint
from .storage.folder import check_still_there
from .storage.packing import Part


@dataclass
class Result:
    """How a session ended."""

    config: RunConfig
    step: int
    evaluation: Evaluation | None
    seconds: float
    cpu_seconds: float | None = None
    """What CPU cores worked for it, where that is known."""
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
        """Evaluate what acts now in the real environment, and report it; once at a step.

        A signal ends it without a result: it is done again when the run goes on.
        """
        if self.evaluated_step == self.clock.step:
            return
        self.check_folder()
        spec, episodes = evaluation_spec(self.config), self.config.evaluate_episodes
        try:
            with left_by_evaluation(self.config):
                self.evaluation = evaluate(actor, spec, episodes, signals=self.signals)
        except StoppedError:
            return
        except RunFailedError as error:
            raise self.failed(str(error), error.__cause__) from error
        self.evaluated_step = self.clock.step
        report_evaluation(self.run_dir, self.tracker, self.evaluation, self.clock.step)

    def check_folder(self) -> None:
        """Raise `RunFailedError` where the run's folder has been removed or moved."""
        check_still_there(self.run_dir, CONFIG_FILE)

    def evaluate_if_due(self, actor: Actor, before: int) -> None:
        """Evaluate where the clock says so, but at the end, where it is done anyway."""
        step = self.clock.step
        if due(self.config.evaluate_every, before, step) and step < self.config.steps:
            self.evaluate(actor)

    def evaluate_if_missed(self, actor: Actor) -> None:
        """Evaluate where a run goes on from a checkpoint that was written just before an evaluation."""
        if self.has_missed_one():
            self.evaluate(actor)

    def has_missed_one(self) -> bool:
        """Whether there is no evaluation since the last time that one was due."""
        every, step = self.config.evaluate_every, self.clock.step
        last = step // every * every if every else 0
        if last == 0 or step >= self.config.steps:
            return False
        rows, _ = read_evaluations(self.run_dir)
        return not any(last <= row["step"] <= step for row in rows)

    def check(self, parts: Mapping[str, Any], meter: Meter) -> None:
        """Make sure that what is learned, and what was reported of it, are numbers.

        Raises:
            RunFailedError: the run has diverged; its checkpoints stay as they are.
        """
        if broken := broken_metric(meter.sums):
            raise self.failed(f"it has diverged: {broken}")
        if broken := broken_part(parts):
            raise self.failed(f"it has diverged: {broken.removeprefix('agent.')}")

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Name the agent where it chooses what is no action."""
        try:
            yield
        except ActionError as error:
            raise self.failed(f"it chose {error}", error) from error

    def failed(self, what: str, cause: BaseException | None = None) -> RunFailedError:
        """What to raise where the agent, not its environment, is the reason that a run cannot go on."""
        config, saved = self.config, list_checkpoints(self.run_dir)
        said = f"agent {config.agent} cannot go on at step {self.clock.step:,}: {what}"
        if isinstance(cause, ActionFormError):  # smaller steps would not help
            return RunFailedError(f"{said}; what its `act` returns has to be changed")
        steps = [f"agent.{f.name}" for f in fields(config.agent_config) if f.name.endswith("learning_rate")]
        change = f"lower {' or '.join(steps) or 'the step size'} in {self.run_dir / 'config.yaml'}"
        start = f"the checkpoint of step {int(saved[-1].name):,}" if saved else "the beginning"
        go_on = command_for(to_dict(config), "train", "--resume", self.run_dir)
        return RunFailedError(f"{said}; {change} (or make rewards smaller), then go on from {start}: {go_on}")

    def result(self) -> Result:
        """How the session has ended."""
        stopped_by = self.signals[0] if self.signals else None
        clock = self.clock
        spent = clock.total_seconds, clock.total_cpu
        return Result(self.config, clock.step, self.evaluation, *spent, stopped_by, clock.updates)


class Checkpoints:
    """Checkpoints of a session, none of them twice."""

    def __init__(self, session: Session, parts: Mapping[str, Part], saved_step: int | None):
        self.session = session
        self.parts = parts
        self.saved_step = saved_step

    def save(self) -> None:
        """Write a checkpoint, unless there is one of this step; of numbers only (see `Session.check`)."""
        step = self.session.clock.step
        if step != self.saved_step:
            self.session.check_folder()
            meter = self.parts.get("meter")
            self.session.check(self.parts, meter if isinstance(meter, Meter) else Meter())
            try:
                save_checkpoint(self.session.run_dir, step, self.parts)
            except OSError:
                self.session.check_folder()  # it may have gone meanwhile, which is another matter
                raise
            self.saved_step = step

    def due(self, before: int) -> bool:
        """Whether the clock asks for a checkpoint; not at the end, where one is written anyway."""
        config, step = self.session.config, self.session.clock.step
        return due(config.checkpoint_every, before, step) and step < config.steps

    def save_if_due(self, before: int) -> None:
        """Write a checkpoint where the clock says so."""
        if self.due(before):
            self.save()


def report_evaluation(run_dir: Path, tracker: Tracker, evaluation: Evaluation, step: int) -> None:
    """Log an evaluation and add it to `evaluations.json`, replacing those of this step and of later ones."""
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
