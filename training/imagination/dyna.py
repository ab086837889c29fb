"""Collect real steps with the current policy, fit a world model, train in its dream, and again.

Either the agent learns in dreams alone, or (Dyna) from the real steps as well, and then only from good dreams.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...agents.agent import Agent
from ...envs.autoreset import BackendEnvs
from ...envs.make import EnvSpec, make_envs
from ...envs.vector import Envs
from ...world_models.datasets import EpisodeDataset, EpisodeRecorder
from ...world_models.dream import Dream, find_starts
from ...world_models.fit import Fit
from ...world_models.model_evaluation import evaluation_report
from ..run.build import build_agent, env_spec, evaluation_spec, resolve
from ..run.checkpoint import Part, latest_checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from ..run.collect import Collector, RandomActor, record
from ..run.evaluate import evaluate
from ..run.lock import locked
from ..run.loop import Clock, Meter, Result, caught_signals, report_evaluation
from ..run.runs import CYCLE_FILE, check_video, describe, finish, set_threads
from ..settings.config import RunConfig, load_config, save_config, to_dict
from ..settings.seeds import DATA_SEED
from ..settings.typed import build, plain
from ..settings.usage import UsageError, as_usage_errors
from ..settings.yaml_files import load_yaml, save_yaml
from ..tracking.progress import Progress, say
from ..tracking.tracker import Tracker
from ..tracking.trackers import check_tracking, open_tracker, step_to_resume
from .dream_envs import DreamBackend
from .dyna_options import CycleConfig, model_config
from .fits import run_fit, save_data
from .world_model_config import MODEL_FILE, build_world_model
from .world_model_config import to_dict as model_dict

MODEL_FOLDER = "world_model"


def dream_cycle(cycle: CycleConfig, config: RunConfig, run_dir: Path) -> int:
    """Run a cycle from its beginning, into a folder that must be new or empty."""
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise UsageError(f"{run_dir} is not empty; choose another --out")
    if cycle.real_steps < cycle.rounds * cycle.collect_envs:
        raise UsageError(f"--real-steps: {cycle.real_steps} are too few for {cycle.rounds} rounds")
    if cycle.learn_from_real and cycle.collect_envs != config.num_envs:
        raise UsageError(
            f"--collect-envs: with --learn-from-real it must be as many copies as there are dreams, --collect-envs "
            f"{config.num_envs}; got {cycle.collect_envs}"
        )
    check_tracking(config.track)
    model = model_config(cycle, config)
    with as_usage_errors():
        config = resolve(config)
        with closing(make_envs(replace(env_spec(config), num_envs=1))) as envs:
            build_agent(config, envs.observation_space, envs.action_space)
            build_world_model(model, envs.observation_space, envs.action_space)
        if config.video:
            check_video(config)
    (run_dir / MODEL_FOLDER).mkdir(parents=True, exist_ok=True)
    save_config(run_dir, config)
    save_yaml(run_dir / CYCLE_FILE, plain(cycle))
    save_yaml(run_dir / MODEL_FOLDER / MODEL_FILE, model_dict(model))
    return resume_cycle(run_dir)


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
        tracker = open_tracker(
            run_dir,
            config.track,
            env=config.env,
            agent=config.agent,
            seed=config.seed,
            config=to_dict(config) | {"cycle": plain(cycle)},
            resume_step=step_to_resume(run_dir, checkpoint),
        )
        code = 1
        try:
            result = _cycle(cycle, config, run_dir, tracker, checkpoint)
            code = 0 if result.signal is None else 128 + result.signal
            if result.signal is None:
                finish(run_dir, config, result, tracker)
        except SystemExit:  # stopped while it fitted
            say(f"stopped; go on with: palaestra train --resume {run_dir}")
            raise
        finally:
            tracker.close(code)
    print(
        describe(run_dir, result)
        if result.signal is None
        else f"stopped; go on with: palaestra train --resume {run_dir}"
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
    with closing(make_envs(real_spec(cycle, config))) as envs:
        return _rounds(cycle, config, run_dir, tracker, checkpoint, envs)


def _rounds(
    cycle: CycleConfig,
    config: RunConfig,
    run_dir: Path,
    tracker: Tracker,
    checkpoint: Path | None,
    real: Envs,
) -> Result:
    observation_space, action_space = real.observation_space, real.action_space
    agent = build_agent(config, observation_space, action_space)
    # Its episodes outlast a round: what happens late in them would never be seen in rounds that are shorter.
    collector = Collector(agent, real)
    episodes, clock, rounds = EpisodeDataset(), Clock(), Rounds()
    parts: dict[str, Part] = {"episodes": episodes, "clock": clock, "rounds": rounds, "collector": collector}
    parts |= {f"agent.{name}": part for name, part in agent.parts().items()}
    if checkpoint is not None:
        load_checkpoint(checkpoint, parts)
    fitting = model_config(cycle, config)
    with caught_signals() as caught:
        while rounds.count < cycle.rounds and not caught:
            watch = Watch(config, tracker, clock, caught)
            episodes.add(collect(cycle, config, collector, agent, rounds.count, watch).episodes)
            if caught:
                break
            model = build_world_model(
                replace(fitting, seed=config.seed + rounds.count), observation_space, action_space
            )
            fit = Fit(model, episodes, cycle.fit, config.seed + rounds.count)
            say(f"round {rounds.count + 1}/{cycle.rounds}: fitting to {episodes.num_steps:,} real steps")
            run_fit(fit, lambda metrics, update: None)
            report = evaluation_report(model, fit.train, fit.held_out)
            doubts = gate(cycle, report) if cycle.learn_from_real else []
            metrics = as_metrics(report) | {"real/steps": float(episodes.num_steps)}
            tracker.log(metrics | {"model/used": float(not doubts)}, clock.step)
            if doubts:
                say(f"round {rounds.count + 1}/{cycle.rounds}: model-free, since {' and '.join(doubts)}")
            else:
                starts = find_starts(model, episodes, config.dream, seed=config.seed)
                settings = replace(config.dream, horizon=horizon(cycle, config, rounds.count))
                dream = Dream(model, starts, config.num_envs, settings)
                envs = BackendEnvs(DreamBackend(dream, config.seed + rounds.count))
                learn_steps(dreamt_share(cycle, config, rounds.count), agent, envs, watch)
            if caught:
                break
            rounds.count += 1
            save_data(run_dir / MODEL_FOLDER, clock.step, episodes)
            folder: dict[str, Part] = {"model": model, "progress": fit.progress}
            save_checkpoint(run_dir / MODEL_FOLDER, clock.step, folder, keep=1)
            save_checkpoint(run_dir, clock.step, parts)
    evaluation = None
    if not caught:
        evaluation = evaluate(agent, evaluation_spec(config), config.evaluate_episodes)
        report_evaluation(run_dir, tracker, evaluation, clock.step)
    return Result(clock.step, evaluation, clock.total_seconds, caught[0] if caught else None)


def share(total: int, rounds: int, done: int) -> int:
    """Round `done`'s part of a total that need not divide."""
    return total * (done + 1) // rounds - total * done // rounds


def dreamt_share(cycle: CycleConfig, config: RunConfig, done: int) -> int:
    """Dreamt steps of a round: all that the agent learns from, less the real ones where those count."""
    total = config.steps - (cycle.real_steps if cycle.learn_from_real else 0)
    return share(total, cycle.rounds, done)


def horizon(cycle: CycleConfig, config: RunConfig, done: int) -> int:
    """Length of round `done`'s dreams."""
    last = config.dream.horizon
    if cycle.first_horizon is None or cycle.rounds == 1:
        return last
    return round(cycle.first_horizon + (last - cycle.first_horizon) * done / (cycle.rounds - 1))


@dataclass
class Watch:
    """What goes along with learning: the clock, where metrics go, and signals."""

    config: RunConfig
    tracker: Tracker
    clock: Clock
    caught: list[int]


def real_spec(cycle: CycleConfig, config: RunConfig) -> EnvSpec:
    """The real environments, stepped in this process."""
    seed = DATA_SEED + config.seed
    return replace(env_spec(config), num_envs=cycle.collect_envs, seed=seed, backend="sync")


def collect(
    cycle: CycleConfig, config: RunConfig, collector: Collector, agent: Agent, done: int, watch: Watch
) -> EpisodeDataset:
    """Collect a round's share of real steps; without learning from them, the first round's are random."""
    steps = share(cycle.real_steps, cycle.rounds, done)
    if cycle.learn_from_real:
        # In new episodes: the agent has lived in another world since the last.
        spec = real_spec(cycle, config)
        with closing(make_envs(replace(spec, seed=spec.seed + 1000 * done))) as envs:
            seen, returns = learn_steps(
                steps // envs.num_envs * envs.num_envs, agent, envs, watch, record=True
            )
    else:
        envs = collector.envs
        collector.agent = agent if done else RandomActor(envs.action_space, envs.num_envs, config.seed)
        seen, returns = record(collector, steps)
    mean = f", mean return {sum(returns) / len(returns):.1f}" if returns else ""
    say(
        f"round {done + 1}/{cycle.rounds}: {seen.num_steps:,} real steps, {len(returns)} episodes ended{mean}"
    )
    return seen


def gate(cycle: CycleConfig, report: dict[str, Any]) -> list[str]:
    """Why a model's dreams are not to be learned from; nothing where they are."""
    doubts = []
    for k, skill in report["skill"].items():
        if int(k) <= 10 and skill is not None and not skill > cycle.min_skill:
            doubts.append(f"skill {skill:.2f} {k} steps ahead is not above {cycle.min_skill:g}")
    recall = report["terminal_recall"]
    if recall is not None and recall < cycle.min_recall:
        doubts.append(f"{recall:.0%} of the terminations are predicted, not {cycle.min_recall:.0%}")
    return doubts


def as_metrics(report: dict[str, Any]) -> dict[str, float]:
    """The report's numbers by their metrics' names; they are shown, too."""
    skill = {f"model/skill_{k}": value for k, value in report["skill"].items()}
    others = {
        f"model/{name}": report[name] for name in ("reward_r2", "terminal_recall", "terminal_precision")
    }
    numbers = {name: float(value) for name, value in (skill | others).items() if value is not None}
    say("  ".join(f"{name.removeprefix('model/')} {value:.3f}" for name, value in numbers.items()))
    return numbers


def learn_steps(
    steps: int, agent: Agent, envs: Envs, watch: Watch, record: bool = False
) -> tuple[EpisodeDataset, list[float]]:
    """Learn for a number of steps, or until a signal is caught.

    The last step is cut off, since what comes next is another world.

    Returns:
        What was seen, if it is to be recorded, and the returns of the episodes that ended.
    """
    config, clock = watch.config, watch.clock
    collector, meter, recorder = Collector(agent, envs), Meter(), EpisodeRecorder(envs.num_envs)
    seen, returns = EpisodeDataset(), []
    progress, begun = Progress(config.steps, start_step=clock.step), (clock.step, time.perf_counter())
    goal = clock.step + steps
    while clock.step < goal and not watch.caught:
        transition, ended = collector.step()
        if clock.step + transition.num_steps >= goal:
            transition = transition._replace(truncated=transition.truncated | ~transition.terminated)
        if record:
            step = (transition.terminated, transition.truncated, transition.next_obs)
            seen.add(recorder.add(transition.obs, transition.action, transition.reward, *step))
        meter.add(agent.learn(transition))
        meter.add_episodes(ended)
        returns += [episode.episode_return for episode in ended]
        before = clock.advance(transition.num_steps)
        progress.update(clock.step, [episode.episode_return for episode in ended])
        if clock.step // config.log_every > before // config.log_every or clock.step >= goal:
            speed = (clock.step - begun[0]) / (time.perf_counter() - begun[1])
            times = {"time/steps_per_second": speed, "time/total": clock.total_seconds}
            watch.tracker.log(meter.read() | times, clock.step)
    progress.close()
    return seen, returns
