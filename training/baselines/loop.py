"""Training one of Stable-Baselines3's algorithms with our environments, clocks, metrics and evaluation."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.make import make_envs
from ...envs.vector import Envs, Episode
from ..run.build import training_spec
from ..run.clocks import Clock, Meter, MetricsLog, due
from ..run.listing import EVALUATIONS_FILE, SUMMARY_FILE
from ..run.session import Checkpoints, Result, Session
from ..run.signals import caught_signals
from ..run.storage.checkpoint import load_checkpoint
from ..settings.config import RunConfig
from ..tracking.progress import Progress, say
from ..tracking.tracker import Tracker
from .metrics import translated
from .model import BaselineActor, build_model, frozen, save_model
from .state import model_parts, unsaved


def train_baseline(
    algorithm: type[Any],
    config: RunConfig,
    run_dir: Path,
    tracker: Tracker,
    progress: Progress,
    checkpoint: Path | None,
) -> Result:
    """Train from the start, or go on from `checkpoint`, and leave a model in `run_dir`."""
    from stable_baselines3.common.logger import Logger

    clear_outcome(run_dir, whole=checkpoint is None)
    clock = Clock()
    with closing(make_envs(training_spec(config))) as envs, caught_signals() as signals:
        episodes: list[Episode] = []
        model, normalizer = build_model(algorithm, config, envs, episodes)
        session = Session(config, run_dir, tracker, clock, signals)
        log = MetricsLog(tracker, clock, Meter())
        callback = Callback(session, model, normalizer, envs, episodes, log, progress)
        model.set_logger(Logger(None, []))
        with suppress(Stopped), session.acting(), rollouts_between(model, callback, checkpoint):
            # It never writes its log: what it holds is read, and forgotten, where our rows are due.
            try:
                model.learn(config.steps, callback=callback, log_interval=sys.maxsize)
            except (ValueError, RuntimeError):  # what it says of NaN; ours says what has become of the policy
                session.check({"policy": model.policy}, log.meter)
                raise
        session.check_folder()
        if not signals:
            session.check({"policy": model.policy}, log.meter)
            save_model(run_dir, model, frozen(normalizer))
            session.evaluate(BaselineActor(model, frozen(normalizer)))
    # Not all of them count their updates.
    clock.updates = getattr(model, "_n_updates", None)
    return session.result()


class Stopped(Exception):  # noqa: N818
    """Ends an algorithm that goes on although it was told to stop."""


@dataclass
class Callback:
    """What Stable-Baselines3 calls after every vector step: the clocks of our loop, but for checkpoints."""

    session: Session
    model: Any
    normalizer: Any
    envs: Envs
    episodes: list[Episode]
    """Those that ended in the step."""
    log: MetricsLog
    progress: Progress
    stopped: bool = False

    def __call__(self, local: dict[str, Any], outer: dict[str, Any]) -> bool:
        """Log, evaluate, and say whether to go on; `local` are the variables of the algorithm's loop."""
        if self.stopped:
            raise Stopped
        config, clock = self.session.config, self.session.clock
        before = clock.advance(self.model.num_timesteps - clock.step)
        self.log.meter.add_episodes(self.episodes)
        self.progress.update(clock.step, [episode.episode_return for episode in self.episodes])
        self.episodes.clear()
        if due(config.log_every, before, clock.step):
            self.session.check_folder()
            # What the latest update has left.
            self.log.meter.add(translated(self.model.logger.name_to_value, type(self.model).__name__))
            self.model.logger.dump()
            try:
                self.session.check({"policy": self.model.policy}, self.log.meter)
            finally:
                self.log.write(self.envs.restarts)
        evaluated = due(config.evaluate_every, before, clock.step) and clock.step < config.steps
        if evaluated:
            paused = time.perf_counter()
            self.session.evaluate(BaselineActor(self.model, frozen(self.normalizer)))
            self.log.leave_out(time.perf_counter() - paused)
        # A rollout that the last step fills is learned from before the algorithm ends by itself. After a signal the few
        # steps of an off-policy rollout are finished, and saved; a long one is given up, for its checkpoint, and so is
        # one with an evaluation that the signal may have ended: later it would be of another model.
        if self.session.signals:
            self.stopped = evaluated or "train_freq" not in local
        elif clock.step >= config.steps:
            self.stopped = not fills_rollout(local)
        return not self.stopped


@contextmanager
def rollouts_between(model: Any, callback: Callback, checkpoint: Path | None) -> Iterator[None]:
    """Save and restore between a model's rollouts; an algorithm that collects none is left as it is."""
    if not hasattr(model, "collect_rollouts"):
        yield
        return
    model.collect_rollouts = Rollouts(callback, model.collect_rollouts, checkpoint).collect
    try:
        yield
    finally:
        del model.collect_rollouts  # its own again, which its `save` can pickle


class Rollouts:
    """Stands before an algorithm's `collect_rollouts`: between two of them it can be saved and restored."""

    def __init__(self, callback: Callback, collect: Callable[..., Any], checkpoint: Path | None):
        self.callback = callback
        self.collect_only = collect
        self.checkpoint = checkpoint
        self.checkpoints: Checkpoints | None = None
        self.begun = False
        self.before = 0

    def collect(self, *arguments: Any, **options: Any) -> Any:
        """Restore or save what is to be, and collect one more rollout."""
        if not self.begun:
            self.begun = True
            self._begin()
        elif self.checkpoints is not None:
            paused = time.perf_counter()
            if self.callback.session.signals:
                self.checkpoints.save()
            else:
                self.checkpoints.save_if_due(self.before)
            self.callback.log.leave_out(time.perf_counter() - paused)
        if self.callback.session.signals:
            raise Stopped
        self.before = self.callback.session.clock.step
        return self.collect_only(*arguments, **options)

    def _begin(self) -> None:
        """Go on from the checkpoint, now that the algorithm has set up what it sets up when it begins to learn."""
        callback, session = self.callback, self.callback.session
        parts = model_parts(callback.model, callback.normalizer, callback.envs)
        if problem := unsaved(parts):
            say(f"note: {session.config.agent} is not saved on the way: {problem}")
            return
        parts |= {"meter": callback.log.meter, "clock": session.clock}
        if self.checkpoint is not None:
            load_checkpoint(self.checkpoint, parts)
            callback.log = MetricsLog(session.tracker, session.clock, callback.log.meter)
            session.evaluate_if_missed(BaselineActor(callback.model, frozen(callback.normalizer)))
        saved_step = None if self.checkpoint is None else session.clock.step
        self.checkpoints = Checkpoints(session, parts, saved_step)


def fills_rollout(local: dict[str, Any]) -> bool:
    """Whether a step is the last before an update, from the variables of the loop that collects; False if unknown."""
    if "n_rollout_steps" in local:
        return bool(local["n_steps"] + 1 >= local["n_rollout_steps"])
    if "train_freq" in local:
        frequency, unit = local["train_freq"]
        episodes = local["num_collected_episodes"] + np.count_nonzero(local["dones"])
        return bool((episodes if unit.value == "episode" else local["num_collected_steps"]) >= frequency)
    return False


def clear_outcome(run_dir: Path, whole: bool) -> None:
    """Remove what an unfinished run has left of its end; where it begins again, `whole`, its evaluations as well.

    A model stays until the next one takes its place: it may be the only one.
    """
    for name in (SUMMARY_FILE, *([EVALUATIONS_FILE] if whole else [])):
        (run_dir / name).unlink(missing_ok=True)
