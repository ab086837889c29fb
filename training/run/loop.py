"""The whole trainer: collect, learn, and four clocks (log, evaluate, checkpoint, stop)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ...agents.agent import Agent, Transition
from ...envs.make import make_envs
from ...envs.vector import Envs, Episode
from ..settings.components import find_component
from ..settings.config import RunConfig
from ..settings.planning import check_memory, step_bytes, watches_teacher
from ..settings.providers import LEARNED_REWARDS, PLAYER, REWARDED, WITH_REWARD, load_provider
from ..settings.resources import Footprint, filled_bytes, frames_of, most_frames, update_bytes
from ..settings.usage import UsageError, as_usage_errors
from ..tracking.progress import Progress, say
from ..tracking.tracker import Tracker
from .beginnings import begin_differently
from .build import build_agent, training_spec
from .clocks import Clock, Meter, MetricsLog, due
from .collect import Collector
from .evaluate import Actor
from .generators import generators_of_run
from .session import Checkpoints, Result, Session
from .signals import caught_signals
from .storage.checkpoint import latest_checkpoint, list_checkpoints, load_checkpoint
from .storage.packing import Part, num_bytes
from .training_loop import TrainingLoop


class Stepper(Protocol):
    """Steps an agent and its environments together, as `Collector` does."""

    envs: Envs
    """Of the spaces that the agent acts in."""

    def step(self) -> tuple[Transition, list[Episode]]:
        """Act once in every environment; returns what happened and the episodes that ended."""
        ...


class SavedStepper(Stepper, Protocol):
    """One that a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        """Where all of them are."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...


def make_stepper(config: RunConfig, agent: Agent, envs: Envs) -> SavedStepper:
    """Return what an agent learns from: its own steps, or those of a teacher that it watches."""
    return load_provider(PLAYER)(config, agent, envs) if watches_teacher(config) else Collector(agent, envs)


def learn(
    session: Session,
    agent: Agent,
    collector: Stepper,
    log: MetricsLog,
    progress: Progress,
    goal: int,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Step and learn until the session's clock shows `goal` environment steps, or a signal is caught.

    Rows of metrics, (where they are to be written at all) `checkpoints` and evaluations come when their clocks say so:
    in this order, since an evaluation may take long.

    Raises:
        RunFailedError: the agent has diverged, which is looked for with every row and before every checkpoint.
    """
    config, clock, envs = session.config, session.clock, collector.envs
    learned = agent.parts()
    with session.acting():
        while clock.step < goal and not session.signals:
            transition, episodes = collector.step()
            if metrics := agent.learn(transition):
                log.meter.add(metrics)
                clock.count_update()
            before = clock.advance(transition.num_steps)
            if episodes:
                log.meter.add_episodes(episodes)
            progress.update(clock.step, [episode.episode_return for episode in episodes])
            if due(config.log_every, before, clock.step):
                write_row(session, learned, log, envs.restarts)
            paused = time.perf_counter()
            if checkpoints is not None:
                checkpoints.save_if_due(before)
            session.evaluate_if_due(agent, before)
            log.leave_out(time.perf_counter() - paused)


def write_row(session: Session, learned: Mapping[str, Any], log: MetricsLog, restarts: int = 0) -> None:
    """Write a row of metrics, with the number of environments that were made anew.

    Raises:
        RunFailedError: the run's folder is gone; or the agent has diverged, after the row is written.
    """
    session.check_folder()
    try:
        session.check(learned, log.meter)
    finally:
        log.write(restarts)


def footprint(config: RunConfig, agent: Agent, envs: Envs) -> Footprint:
    """What a run with an agent that has just been built will take."""
    one = step_bytes(envs.observation_space, envs.action_space)
    frames = frames_of(envs)
    stores = agent.stores(one, config.num_envs, frames)
    networks = num_bytes(agent.parts())
    batch_size = getattr(config.agent_config, "batch_size", 0)
    updates = update_bytes(agent.parts(), envs.observation_space, batch_size, stores)
    checkpoint = networks + filled_bytes(stores, config.steps)
    return Footprint(stores, networks, checkpoint, updates, step_bytes(envs.action_space))


def run_parts(agent: Agent, stepper: Part, meter: Meter, clock: Clock) -> dict[str, Part]:
    """Everything that a checkpoint of a run holds."""
    parts: dict[str, Part] = {"collector": stepper, "meter": meter, "clock": clock}
    return parts | {f"agent.{name}": part for name, part in agent.parts().items()}


def make_steps(
    config: RunConfig, agent: Agent, envs: Envs, meter: Meter, clock: Clock
) -> tuple[Stepper, dict[str, Part]]:
    """Return what gives the agent its steps, rewards included, and everything that a checkpoint of the run holds."""
    stepper = make_stepper(config, agent, envs)
    parts = run_parts(agent, stepper, meter, clock)
    sources = build_rewards(config, envs)
    if not sources:
        return stepper, parts
    rewarded = load_provider(REWARDED)(stepper, sources, meter)
    return rewarded, parts | rewarded.parts()


def build_rewards(config: RunConfig, envs: Envs) -> dict[str, Any]:
    """Build the learned rewards of a run by their kinds; of most runs none."""
    if config.bonus == config.reward == "none":
        return {}
    return load_provider(LEARNED_REWARDS)(config, envs)


class AgentLoop(TrainingLoop):
    """Trains an agent of ours from checkpoint to checkpoint, to be resumed exactly."""

    @classmethod
    def check(cls, config: RunConfig, envs: Envs) -> Footprint:
        """Build the agent once."""
        with generators_of_run(config):
            agent = build_agent(config, envs.observation_space, envs.action_space)
            sources = build_rewards(config, envs)
            taken = footprint(config, agent, envs)
        check_memory(config.agent_config, taken.stores)
        for kind, source in sources.items():
            taken = load_provider(WITH_REWARD)(taken, source, kind, config)
        if watches_teacher(config):
            say(f"note: {load_provider(PLAYER)(config, agent, envs).summary(config.steps)}")
            return taken
        if not envs.exact_resume:
            say(f"note: {config.env} cannot be restored in mid-episode; a resumed run begins new episodes")
        elif config.dream.model is None and begin_differently(envs):
            say(
                f"note: the same seeds begin other episodes in {config.env}: the run cannot be reproduced or "
                f"resumed exactly; palaestra envs check {config.env} says more"
            )
        return taken

    @classmethod
    def resume(cls, config: RunConfig, run_dir: Path, steps: int | None) -> tuple[RunConfig, Path | None]:
        """Go on from the last checkpoint; a run that was killed before its first one begins again."""
        checkpoint = latest_checkpoint(run_dir) if list_checkpoints(run_dir) else None
        if steps is None:
            return config, checkpoint
        done = int(checkpoint.name) if checkpoint else 0
        if steps != config.steps and steps < done:
            raise UsageError(f"{run_dir} has {done} steps already; --steps must be more than that")
        return replace(config, steps=steps), checkpoint

    @classmethod
    def train(
        cls, config: RunConfig, run_dir: Path, tracker: Tracker, progress: Progress, checkpoint: Path | None
    ) -> Result:
        """Train as `config` says."""
        with as_usage_errors():
            made = make_envs(training_spec(config))
        with closing(made) as envs, generators_of_run(config) as generators:
            agent = build_agent(config, envs.observation_space, envs.action_space)
            # A resumed run may be on another machine. Nothing is stepped here: it would begin with other episodes.
            one = step_bytes(envs.observation_space, envs.action_space)
            stores = agent.stores(one, envs.num_envs, most_frames(envs.observation_space))
            check_memory(config.agent_config, stores)
            meter, clock = Meter(), Clock()
            stepper, parts = make_steps(config, agent, envs, meter, clock)
            parts |= generators
            if checkpoint is not None:
                load_checkpoint(checkpoint, parts, may_lack=generators)
            with caught_signals() as signals:
                session = Session(config, run_dir, tracker, clock, signals)
                checkpoints = Checkpoints(session, parts, None if checkpoint is None else clock.step)
                log = MetricsLog(tracker, clock, meter)
                if checkpoint is not None:
                    session.evaluate_if_missed(agent)
                learn(session, agent, stepper, log, progress, config.steps, checkpoints)
                checkpoints.save()
                if not signals:
                    session.evaluate(agent)
        return session.result()

    @classmethod
    def load(cls, config: RunConfig, run_dir: Path, envs: Envs) -> tuple[Actor, int]:
        """Load the agent from its last checkpoint."""
        checkpoint = latest_checkpoint(run_dir)
        # Compiled functions serve learning only.
        agent = build_agent(replace(config, compile="off"), envs.observation_space, envs.action_space)
        parts = {f"agent.{name}": part for name, part in agent.parts().items()}
        load_checkpoint(checkpoint, parts, only_these=True)
        return agent, int(checkpoint.name)

    @classmethod
    def learned(cls, run_dir: Path) -> dict[str, Path]:
        """The last checkpoint."""
        return {"checkpoint": latest_checkpoint(run_dir)}


def loop_of(config: RunConfig) -> type[TrainingLoop]:
    """Return what trains the algorithm of a run: the loop that it brings along, or ours."""
    algorithm = find_component("agent", config.agent)
    return algorithm if issubclass(algorithm, TrainingLoop) else AgentLoop
