"""Training one of Stable-Baselines3's algorithms with our environments, clocks, metrics and evaluation."""

from __future__ import annotations

import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.make import make_envs
from ...envs.vector import Envs, Episode
from ..run.build import training_spec
from ..run.clocks import Clock, Meter, MetricsLog, due
from ..run.session import Result, Session
from ..run.signals import caught_signals
from ..settings.config import RunConfig
from ..tracking.progress import Progress
from ..tracking.tracker import Tracker
from .metrics import translated
from .model import MODEL_FILE, NORMALIZATION_FILE, BaselineActor, build_model, frozen, save_model


def train_baseline(
    algorithm: type[Any], config: RunConfig, run_dir: Path, tracker: Tracker, progress: Progress
) -> Result:
    """Train from the start: what Stable-Baselines3 saves does not continue bit for bit."""
    from stable_baselines3.common.logger import Logger

    begin_again(run_dir)
    clock = Clock()
    with closing(make_envs(training_spec(config))) as envs, caught_signals() as signals:
        episodes: list[Episode] = []
        model, normalizer = build_model(algorithm, config, envs, episodes)
        session = Session(config, run_dir, tracker, clock, signals)
        log = MetricsLog(tracker, clock, Meter())
        callback = Callback(session, model, normalizer, envs, episodes, log, progress)
        model.set_logger(Logger(None, []))
        with suppress(Stopped), session.acting():
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
    """What Stable-Baselines3 calls after every vector step: the clocks of our loop, but no checkpoints."""

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
        if due(config.evaluate_every, before, clock.step) and clock.step < config.steps:
            paused = time.perf_counter()
            self.session.evaluate(BaselineActor(self.model, frozen(self.normalizer)))
            self.log.leave_out(time.perf_counter() - paused)
        # A rollout that the last step fills is learned from before the algorithm ends by itself.
        self.stopped = bool(self.session.signals) or (clock.step >= config.steps and not fills_rollout(local))
        return not self.stopped


def fills_rollout(local: dict[str, Any]) -> bool:
    """Whether a step is the last before an update, from the variables of the loop that collects; False if unknown."""
    if "n_rollout_steps" in local:
        return bool(local["n_steps"] + 1 >= local["n_rollout_steps"])
    if "train_freq" in local:
        frequency, unit = local["train_freq"]
        episodes = local["num_collected_episodes"] + np.count_nonzero(local["dones"])
        return bool((episodes if unit.value == "episode" else local["num_collected_steps"]) >= frequency)
    return False


def begin_again(run_dir: Path) -> None:
    """Forget what an unfinished run has left: with the same seed it will come to the same."""
    for name in ("summary.json", "evaluations.json", MODEL_FILE, NORMALIZATION_FILE):
        (run_dir / name).unlink(missing_ok=True)
