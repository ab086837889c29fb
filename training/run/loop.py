"""The whole trainer: collect, learn, and four clocks (log, evaluate, checkpoint, stop)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...agents.agent import Metrics
from ...envs.vector import Envs, Episode
from ..imagination.dream_envs import training_envs
from ..settings.config import RunConfig
from ..tracking.progress import Progress
from ..tracking.tracker import Tracker
from .build import build_agent, evaluation_spec
from .checkpoint import Part, load_checkpoint, save_checkpoint
from .collect import Collector
from .evaluate import Evaluation, evaluate
from .signals import handled_signals


@dataclass
class Result:
    """How a run ended."""

    step: int
    evaluation: Evaluation | None
    seconds: float
    signal: int | None = None
    """The signal that stopped the run early, if one did."""


@dataclass
class Meter:
    """Means of what was reported since the last log; tensors on a GPU are read only then."""

    sums: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, metrics: Metrics) -> None:
        """Add one report."""
        for name, value in metrics.items():
            # On the CPU reading a tensor costs less than adding two; a GPU would have to be waited for.
            number = value.item() if isinstance(value, torch.Tensor) and value.is_cpu else value
            self.sums[name] = self.sums.get(name, 0.0) + number
            self.counts[name] = self.counts.get(name, 0) + 1

    def add_episodes(self, episodes: list[Episode]) -> None:
        """Add finished episodes."""
        for episode in episodes:
            self.add({"episode/return": episode.episode_return, "episode/length": float(episode.length)})

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


@dataclass
class Clock:
    """Where a run stands: environment steps and seconds spent, over all its sessions."""

    step: int = 0
    seconds: float = 0.0
    _started: float = field(default_factory=time.perf_counter)

    @property
    def total_seconds(self) -> float:
        """Seconds of training, earlier sessions included."""
        return self.seconds + time.perf_counter() - self._started

    def advance(self, steps: int) -> int:
        """Count steps; returns the step before."""
        before, self.step = self.step, self.step + steps
        return before

    def state_dict(self) -> dict[str, Any]:
        """Steps and seconds."""
        return {"step": self.step, "seconds": self.total_seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.step, self.seconds, self._started = state["step"], state["seconds"], time.perf_counter()


def due(every: int, before: int, step: int) -> bool:
    """Whether a multiple of `every` lies in `(before, step]`; 0 means never."""
    return every > 0 and step // every > before // every


def train(
    config: RunConfig, run_dir: Path, tracker: Tracker, progress: Progress, checkpoint: Path | None = None
) -> Result:
    """Train an agent as `config` says, from the start or from `checkpoint`, and leave everything in `run_dir`."""
    envs = training_envs(config)
    try:
        return _train(config, run_dir, tracker, progress, envs, checkpoint)
    finally:
        envs.close()


def _train(
    config: RunConfig,
    run_dir: Path,
    tracker: Tracker,
    progress: Progress,
    envs: Envs,
    checkpoint: Path | None,
) -> Result:
    agent = build_agent(config, envs.observation_space, envs.action_space)
    collector, meter, clock = Collector(agent, envs), Meter(), Clock()
    parts: dict[str, Part] = {"collector": collector, "meter": meter, "clock": clock}
    parts |= {f"agent.{name}": part for name, part in agent.parts().items()}
    if checkpoint is not None:
        load_checkpoint(checkpoint, parts)
    spec = evaluation_spec(config)
    evaluation, speed = None, (clock.step, time.perf_counter())
    saved_at = None if checkpoint is None else clock.step

    with caught_signals() as caught:
        while clock.step < config.steps and not caught:
            transition, episodes = collector.step()
            meter.add(agent.learn(transition))
            before = clock.advance(transition.num_steps)
            if episodes:
                meter.add_episodes(episodes)
            progress.update(clock.step, [episode.episode_return for episode in episodes])

            if due(config.log_every, before, clock.step):
                now = time.perf_counter()
                restarts = {"env/restarts": envs.restarts} if envs.restarts else {}
                seconds = {"time/steps_per_second": (clock.step - speed[0]) / (now - speed[1])}
                times = seconds | {"time/total": clock.total_seconds}
                tracker.log(meter.read() | restarts | times, clock.step)
                speed = (clock.step, now)
            paused = time.perf_counter()
            if due(config.evaluate_every, before, clock.step) and clock.step < config.steps:
                evaluation = evaluate(agent, spec, config.evaluate_episodes)
                report_evaluation(run_dir, tracker, evaluation, clock.step)
            if due(config.checkpoint_every, before, clock.step) and clock.step < config.steps:
                save_checkpoint(run_dir, clock.step, parts)
                saved_at = clock.step
            speed = (speed[0], speed[1] + time.perf_counter() - paused)  # training only

        if clock.step != saved_at:
            save_checkpoint(run_dir, clock.step, parts)
        if not caught:
            evaluation = evaluate(agent, spec, config.evaluate_episodes)
            report_evaluation(run_dir, tracker, evaluation, clock.step)
    return Result(clock.step, evaluation, clock.total_seconds, caught[0] if caught else None)


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
    path = run_dir / "evaluations.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [row for row in rows if row["step"] < step] + [{"step": step, **evaluation.to_dict()}]
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(rows))
    temporary.replace(path)


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, so that the loop can stop where a checkpoint can be written.

    A second signal acts at once. Outside the main thread signals are left alone.
    """
    caught: list[int] = []

    def remember(number: int) -> None:
        caught.append(number)
        restore()

    with handled_signals(remember) as restore:
        yield caught
