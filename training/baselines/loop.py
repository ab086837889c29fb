"""Training one of Stable-Baselines3's algorithms with our environments, clocks, metrics and evaluation."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...agents.agent import Metrics
from ...envs.vector import Envs, Episode
from ..imagination.dream_envs import training_envs
from ..run.build import evaluation_spec
from ..run.evaluate import Evaluation, evaluate
from ..run.loop import Meter, Result, caught_signals, due, report_evaluation
from ..settings.config import RunConfig
from ..tracking.progress import Progress
from ..tracking.tracker import Tracker
from .algorithms import PREFIX
from .model import MODEL_FILE, NORMALIZATION_FILE, BaselineActor, build_model, frozen, save_model

# Stable-Baselines3's names of what ours log too.
METRIC_NAMES = {
    "train/policy_gradient_loss": "loss/policy",
    "train/policy_loss": "loss/policy",
    "train/actor_loss": "loss/policy",
    "train/value_loss": "loss/value",
    "train/critic_loss": "loss/value",
    "train/approx_kl": "policy/approx_kl",
    "train/clip_fraction": "policy/clip_fraction",
    "train/explained_variance": "value/explained_variance",
    "train/learning_rate": "policy/learning_rate",
    "rollout/exploration_rate": "policy/epsilon",
}


def check_baseline(config: RunConfig) -> None:
    """Build everything once, so that what is wrong with the request shows before anything is written."""
    with closing(training_envs(config)) as envs:
        build_model(config, envs, [])


def train_baseline(config: RunConfig, run_dir: Path, tracker: Tracker, progress: Progress) -> Result:
    """Train from the start: what Stable-Baselines3 saves does not continue bit for bit."""
    from stable_baselines3.common.logger import Logger

    begin_again(run_dir)
    started = time.perf_counter()
    with closing(training_envs(config)) as envs, caught_signals() as caught:
        episodes: list[Episode] = []
        model, normalizer = build_model(config, envs, episodes)
        spec = evaluation_spec(config)

        def examine(step: int) -> Evaluation:
            actor = BaselineActor(model, frozen(normalizer))
            evaluation = evaluate(actor, spec, config.evaluate_episodes)
            report_evaluation(run_dir, tracker, evaluation, step)
            return evaluation

        watch = Watch(config, model, envs, episodes, tracker, progress, examine, caught)
        model.set_logger(Logger(None, []))
        with suppress(Stopped):
            # It never writes its log: what it holds is read, and forgotten, where our rows are due.
            model.learn(config.steps, callback=watch, log_interval=sys.maxsize)
        evaluation = None
        if not caught:
            save_model(run_dir, model, frozen(normalizer))
            evaluation = examine(watch.step)
    return Result(watch.step, evaluation, time.perf_counter() - started, caught[0] if caught else None)


class Stopped(Exception):  # noqa: N818
    """Ends an algorithm that goes on although it was told to stop."""


@dataclass
class Watch:
    """What Stable-Baselines3 calls after every vector step: the clocks of our loop, but no checkpoints."""

    config: RunConfig
    model: Any
    envs: Envs
    episodes: list[Episode]
    """Those that ended in the step."""
    tracker: Tracker
    progress: Progress
    examine: Callable[[int], Evaluation]
    caught: list[int]
    """Signals."""
    step: int = 0
    logged_step: int = 0
    stopped: bool = False

    def __post_init__(self) -> None:
        self.meter = Meter()
        self.started = self.logged = time.perf_counter()

    def __call__(self, local: dict[str, Any], outer: dict[str, Any]) -> bool:
        """Log, evaluate, and say whether to go on; `local` are the variables of the algorithm's loop."""
        if self.stopped:
            raise Stopped
        config, before = self.config, self.step
        self.step = self.model.num_timesteps
        self.meter.add_episodes(self.episodes)
        self.progress.update(self.step, [episode.episode_return for episode in self.episodes])
        self.episodes.clear()
        if due(config.log_every, before, self.step):
            self.log()
        if due(config.evaluate_every, before, self.step) and self.step < config.steps:
            self.examine(self.step)
        # A rollout that the last step fills is learned from before the algorithm ends by itself.
        self.stopped = bool(self.caught) or (self.step >= config.steps and not fills_rollout(local))
        return not self.stopped

    def log(self) -> None:
        """Write a row: means of the episodes since the last one, and what the latest update has left."""
        self.meter.add(translated(self.model.logger.name_to_value, type(self.model).__name__))
        self.model.logger.dump()
        now = time.perf_counter()
        steps = self.step - self.logged_step
        times = {"time/steps_per_second": steps / (now - self.logged), "time/total": now - self.started}
        restarts = {"env/restarts": self.envs.restarts} if self.envs.restarts else {}
        self.tracker.log(self.meter.read() | restarts | times, self.step)
        self.logged, self.logged_step = now, self.step


def fills_rollout(local: dict[str, Any]) -> bool:
    """Whether a step is the last before an update, from the variables of the loop that collects; False if unknown."""
    if "n_rollout_steps" in local:
        return bool(local["n_steps"] + 1 >= local["n_rollout_steps"])
    if "train_freq" in local:
        frequency, unit = local["train_freq"]
        episodes = local["num_collected_episodes"] + np.count_nonzero(local["dones"])
        return bool((episodes if unit.value == "episode" else local["num_collected_steps"]) >= frequency)
    return False


def translated(values: dict[str, Any], algorithm: str) -> Metrics:
    """Stable-Baselines3's metrics under our names, `sb3/...` where we have none; without what we count ourselves."""
    metrics: Metrics = {}
    for name, value in values.items():
        group, _, rest = name.partition("/")
        if name == "train/entropy_loss":
            metrics["policy/entropy"] = -float(value)
        elif name == "train/loss" and "DQN" in algorithm:
            metrics["loss/q"] = float(value)
        elif name in METRIC_NAMES:
            metrics[METRIC_NAMES[name]] = float(value)
        elif group == "train" and rest != "n_updates":
            metrics[PREFIX + rest] = float(value)
    return metrics


def begin_again(run_dir: Path) -> None:
    """Forget what an unfinished run has left: with the same seed it will come to the same."""
    for name in ("summary.json", "evaluations.json", MODEL_FILE, NORMALIZATION_FILE):
        (run_dir / name).unlink(missing_ok=True)


def is_finished(run_dir: Path, config: RunConfig) -> bool:
    """Whether a run has its summary and its model."""
    path = run_dir / "summary.json"
    if not path.is_file() or not (run_dir / MODEL_FILE).is_file():
        return False
    return bool(json.loads(path.read_text())["step"] >= config.steps)
