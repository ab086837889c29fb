"""Collect real steps with the current policy, fit a world model, train in its dream alone, and again."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import Gt

from ..agents.agent import Agent
from ..envs.make import make_envs
from ..envs.vector import Envs
from ..world_models.dream import Dream, find_starts
from ..world_models.episodes import Episodes
from ..world_models.fit import Fit, FitConfig
from ..world_models.report import report_on
from .build import build_agent, env_spec, evaluation_spec, resolve
from .checkpoint import Part, latest_checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from .cli import parse
from .collect import collect_episodes
from .config import (
    RunConfig,
    UsageError,
    _Dumper,
    _plain,
    as_usage_errors,
    build,
    load_config,
    load_yaml,
    save_config,
)
from .dreams import DreamBackend
from .evaluate import evaluate
from .loop import Clock, Collector, Meter, Result, caught_signals, report_evaluation
from .options import read_train_options
from .plots import plot_learning_curve
from .progress import Progress, say
from .run import CYCLE_FILE, default_run_dir, describe, finish, locked, set_threads
from .tracking import Tracker, check_tracking, open_tracker
from .world_models import (
    DATA_SEED_OFFSET,
    MODEL_FILE,
    WorldModelConfig,
    build_world_model,
    run_fit,
    to_dict,
    world_model_config,
)

MODEL_FOLDER = "world_model"


@dataclass(frozen=True)
class CycleConfig:
    """Rounds of collecting, fitting and dreaming; every other option is one of `palaestra train`."""

    real_steps: Annotated[int, Gt(0)]
    """Real steps, all rounds together; never one more. The first round's are random."""
    rounds: Annotated[int, Gt(0)] = 5
    """How often to collect, fit and dream; each time with an equal share of the real and of the dreamt steps."""
    collect_envs: Annotated[int, Gt(0)] = 1
    """Copies of the real environment; with few of them, episodes are seen to their end."""
    world_model: str = "auto+auto"
    """Encoder and dynamics, for example vae+ensemble."""
    fit: FitConfig = field(default_factory=FitConfig)
    """Learning the world model."""


def read_cycle_options(agent: str, arguments: list[str]) -> tuple[CycleConfig, RunConfig, Path]:
    """Return the config of the rounds, that of the agent's run, and its folder."""
    ours = {item.name.replace("_", "-") for item in dataclasses.fields(CycleConfig)}
    mine: list[str] = []
    rest: list[str] = []
    here = False
    for word in arguments:
        if word.startswith("--"):
            name = word[2:].partition("=")[0]
            here = name in ours or name.startswith("fit.")
        (mine if here else rest).append(word)
    read = parse(CycleConfig, mine, "world-model dream")
    cycle = build(CycleConfig, _plain(read), "--")
    config, run_dir = read_train_options(agent, rest)
    return cycle, config, run_dir or default_run_dir(config)


def model_config(cycle: CycleConfig, config: RunConfig) -> WorldModelConfig:
    """Return the config of the world model of a cycle."""
    coder, plus, dynamics = cycle.world_model.partition("+")
    if not plus:
        raise UsageError(
            f"--world-model: expected ENCODER+DYNAMICS, for example vae+ensemble, got {cycle.world_model!r}"
        )
    values = {
        "env": config.env,
        "env_kwargs": config.env_kwargs,
        "steps": cycle.real_steps,
        "seed": config.seed,
        "encoder": {"name": coder},
        "dynamics": {"name": dynamics},
        "fit": _plain(cycle.fit),
        "device": config.device,
        "track": "none",
    }
    return world_model_config(values)


def dream_cycle(cycle: CycleConfig, config: RunConfig, run_dir: Path) -> int:
    """Run a cycle from its beginning, into a folder that must be new or empty."""
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise UsageError(f"{run_dir} is not empty; choose another --out")
    if cycle.real_steps < cycle.rounds * cycle.collect_envs:
        raise UsageError(f"--real-steps: {cycle.real_steps} are too few for {cycle.rounds} rounds")
    check_tracking(config.track)
    model = model_config(cycle, config)
    with as_usage_errors():
        config = resolve(config)
        with closing(make_envs(replace(env_spec(config), num_envs=1))) as envs:
            build_agent(config, envs.observation_space, envs.action_space)
            build_world_model(model, envs.observation_space, envs.action_space)
    (run_dir / MODEL_FOLDER).mkdir(parents=True, exist_ok=True)
    save_config(run_dir, config)
    _write(run_dir / CYCLE_FILE, _plain(cycle))
    _write(run_dir / MODEL_FOLDER / MODEL_FILE, to_dict(model))
    return resume_cycle(run_dir)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(
        yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True), encoding="utf-8"
    )


def resume_cycle(run_dir: Path) -> int:
    """Go on with a cycle from its last whole round; the end is bit for bit as if it had never stopped."""
    config = load_config(run_dir)
    path = run_dir / CYCLE_FILE
    if not path.exists():
        raise UsageError(f"{run_dir} has no {CYCLE_FILE}; go on with: palaestra train --resume {run_dir}")
    cycle = build(CycleConfig, load_yaml(path), f"{path}: ")
    set_threads(config)
    with locked(run_dir):
        checkpoint = latest_checkpoint(run_dir) if list_checkpoints(run_dir) else None
        step = int(checkpoint.name) if checkpoint else None
        tracker = open_tracker(
            run_dir,
            config.track,
            env=config.env,
            agent=config.agent,
            seed=config.seed,
            config={"cycle": _plain(cycle)},
            resume_step=step,
        )
        code = 1
        try:
            result = _cycle(cycle, config, run_dir, tracker, checkpoint)
            code = 0 if result.signal is None else 128 + result.signal
            if result.signal is None:
                finish(run_dir, result)
                tracker.figure(plot_learning_curve(run_dir), "learning_curve", result.step)
        finally:
            tracker.close(code)
    print(
        describe(run_dir, result)
        if result.signal is None
        else f"stopped; go on with: palaestra world-model dream --resume {run_dir}"
    )
    return code


@dataclass
class Rounds:
    """Rounds that are done."""

    count: int = 0

    def state_dict(self) -> dict[str, int]:
        """The count."""
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take it back."""
        self.count = state["count"]


def _cycle(
    cycle: CycleConfig, config: RunConfig, run_dir: Path, tracker: Tracker, checkpoint: Path | None
) -> Result:
    with closing(make_envs(replace(env_spec(config), num_envs=1, backend="sync"))) as envs:
        observation_space, action_space = envs.observation_space, envs.action_space
    agent = build_agent(config, observation_space, action_space)
    episodes, clock, rounds = Episodes(), Clock(), Rounds()
    parts: dict[str, Part] = {"episodes": episodes, "clock": clock, "rounds": rounds}
    parts |= {f"agent.{name}": part for name, part in agent.parts().items()}
    if checkpoint is not None:
        load_checkpoint(checkpoint, parts)
    fitting = model_config(cycle, config)
    with caught_signals() as caught:
        while rounds.count < cycle.rounds and not caught:
            seen = collect(cycle, config, agent, rounds.count)
            episodes.add(seen.episodes)
            model = build_world_model(
                replace(fitting, seed=config.seed + rounds.count), observation_space, action_space
            )
            fit = Fit(model, episodes, cycle.fit, config.seed + rounds.count)
            say(f"round {rounds.count + 1}/{cycle.rounds}: fitting to {episodes.num_steps:,} real steps")
            run_fit(fit, lambda metrics, update: None)
            starts = find_starts(model, episodes, config.dream, seed=config.seed)
            dream = Dream(model, starts, config.num_envs, config.dream)
            metrics = judge(fit) | {"real/steps": float(episodes.num_steps)}
            tracker.log(metrics, clock.step)
            goal = config.steps * (rounds.count + 1) // cycle.rounds
            envs = Envs(DreamBackend(dream, config.seed + rounds.count))
            dream_until(goal, agent, envs, clock, config, tracker, caught)
            if caught:
                break
            rounds.count += 1
            folder: dict[str, Part] = {"model": model, "episodes": episodes, "progress": fit.progress}
            save_checkpoint(run_dir / MODEL_FOLDER, clock.step, folder, keep=1)
            save_checkpoint(run_dir, clock.step, parts)
    evaluation = None
    if not caught:
        evaluation = evaluate(agent, evaluation_spec(config), config.evaluate_episodes)
        report_evaluation(run_dir, tracker, evaluation, clock.step)
    return Result(clock.step, evaluation, clock.total_seconds, caught[0] if caught else None)


def collect(cycle: CycleConfig, config: RunConfig, agent: Agent, done: int) -> Episodes:
    """Collect a round's share of real steps: random ones first, later the agent's."""
    share = cycle.real_steps * (done + 1) // cycle.rounds - cycle.real_steps * done // cycle.rounds
    spec = replace(
        env_spec(config),
        num_envs=cycle.collect_envs,
        seed=DATA_SEED_OFFSET + config.seed + 1000 * done,
        backend="sync",
    )
    seen, returns = collect_episodes(spec, share, agent if done else None)
    mean = f", mean return {sum(returns) / len(returns):.1f}" if returns else ""
    say(
        f"round {done + 1}/{cycle.rounds}: {seen.num_steps:,} real steps, {len(returns)} episodes ended{mean}"
    )
    return seen


def judge(fit: Fit) -> dict[str, float]:
    """The report's numbers as metrics."""
    report = report_on(fit.model, fit.train, fit.held_out)
    skill = {f"model/skill_{k}": value for k, value in report["skill"].items()}
    others = {
        f"model/{name}": report[name] for name in ("reward_r2", "terminal_recall", "terminal_precision")
    }
    numbers = {name: float(value) for name, value in (skill | others).items() if value is not None}
    say("  ".join(f"{name.removeprefix('model/')} {value:.3f}" for name, value in numbers.items()))
    return numbers


def dream_until(
    goal: int,
    agent: Agent,
    envs: Envs,
    clock: Clock,
    config: RunConfig,
    tracker: Tracker,
    caught: list[int],
) -> None:
    """Train in a dream until the run has `goal` steps or a signal is caught.

    The last step is cut off, since the next dream is another one.
    """
    collector, meter = Collector(agent, envs), Meter()
    progress, begun = Progress(config.steps, start_step=clock.step), (clock.step, time.perf_counter())
    while clock.step < goal and not caught:
        transition, ended = collector.step()
        if clock.step + transition.num_steps >= goal:
            transition = transition._replace(truncated=transition.truncated | ~transition.terminated)
        meter.add(agent.learn(transition))
        meter.add_episodes(ended)
        before = clock.advance(transition.num_steps)
        progress.update(clock.step, [episode.episode_return for episode in ended])
        if clock.step // config.log_every > before // config.log_every or clock.step >= goal:
            speed = (clock.step - begun[0]) / (time.perf_counter() - begun[1])
            tracker.log(
                meter.read() | {"time/steps_per_second": speed, "time/total": clock.total_seconds}, clock.step
            )
    progress.close()
