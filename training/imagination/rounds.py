"""Rounds of a cycle: collect real steps with the current policy, fit a world model, train in its dream.

Either the agent learns in dreams alone, or (Dyna) from the real steps as well, and then only from good dreams.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...agents.agent import Agent, Transition
from ...envs.autoreset import BackendEnvs
from ...envs.make import EnvSpec, make_envs
from ...envs.vector import Envs
from ...envs.vector import Episode as EndedEpisode
from ...world_models.datasets import EpisodeDataset
from ...world_models.dream import Dream, find_starts
from ...world_models.fit import Fit
from ...world_models.model_evaluation import evaluation_report
from ...world_models.world_model import WorldModel
from ..run.build import build_agent, env_spec
from ..run.clocks import Clock, Meter, MetricsLog
from ..run.collect import Collector, RandomActor, Recording, record
from ..run.loop import learn
from ..run.session import Result, Session
from ..run.signals import caught_signals
from ..run.storage.checkpoint import load_checkpoint, save_checkpoint
from ..run.storage.folder import MODEL_FOLDER
from ..run.storage.packing import Part
from ..settings.config import RunConfig
from ..settings.seeds import DATA_SEED
from ..settings.usage import as_usage_errors
from ..tracking.progress import Progress, say
from ..tracking.return_text import return_text
from ..tracking.tracker import Tracker
from .dream_envs import DreamBackend
from .dyna_options import CycleConfig, model_config
from .fits import run_fit, save_data
from .world_model_config import build_world_model


@dataclass
class RoundCount:
    """Rounds that are done."""

    count: int = 0

    def state_dict(self) -> dict[str, int]:
        """The count."""
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take it back."""
        self.count = state["count"]


def train_in_rounds(
    cycle: CycleConfig, config: RunConfig, run_dir: Path, tracker: Tracker, checkpoint: Path | None
) -> Result:
    """Do the rounds that are left, from the start or from a checkpoint, and leave everything in `run_dir`."""
    with closing(make_envs(real_spec(cycle, config))) as envs:
        agent = build_agent(config, envs.observation_space, envs.action_space)
        # Its episodes outlast a round: what happens late in them would never be reached in rounds that are shorter.
        collector = Collector(agent, envs)
        episodes, clock, done = EpisodeDataset(), Clock(), RoundCount()
        parts: dict[str, Part] = {
            "episodes": episodes,
            "clock": clock,
            "rounds": done,
            "collector": collector,
        }
        parts |= {f"agent.{name}": part for name, part in agent.parts().items()}
        if checkpoint is not None:
            load_checkpoint(checkpoint, parts)
        with caught_signals() as signals:
            session = Session(config, run_dir, tracker, clock, signals)
            while done.count < cycle.rounds and not signals:
                one_round = Round(cycle, session, agent, done.count)
                fit = one_round.learn_from_both(collector, episodes)
                if fit is None or signals:
                    break
                done.count += 1
                session.check_folder()
                save_data(run_dir / MODEL_FOLDER, clock.step, episodes)
                model: dict[str, Part] = {"model": fit.model, "progress": fit.progress}
                save_checkpoint(run_dir / MODEL_FOLDER, clock.step, model, keep=1)
                save_checkpoint(run_dir, clock.step, parts)
            if not signals:
                session.evaluate(agent)
    return session.result()


@dataclass
class Round:
    """One round; what it is interrupted in is done again, from the checkpoint that the round before has left."""

    cycle: CycleConfig
    session: Session
    agent: Agent
    index: int

    def learn_from_both(self, collector: Collector, episodes: EpisodeDataset) -> Fit | None:
        """Collect, fit, and learn in dreams if they are good; returns the fit, None where a signal was caught first."""
        cycle, session = self.cycle, self.session
        episodes.add(self.collect(collector).episodes)
        if session.signals:
            return None
        fit = self.fit(episodes, collector.envs)
        report = evaluation_report(fit.model, fit.train, fit.held_out)
        doubts = gate(cycle, report) if cycle.learn_from_real else []
        metrics = as_metrics(report) | {"real/steps": float(episodes.num_steps)}
        session.tracker.log(metrics | {"model/used": float(not doubts)}, session.clock.step)
        if doubts:
            self.say(f"model-free, since {' and '.join(doubts)}")
            # Schedules stand where they would after these dreams: as far as the real steps are.
            self.agent.skip(dreamt_steps(cycle, session.config, self.index))
        else:
            self.dream(fit.model, episodes)
        return fit

    def collect(self, collector: Collector) -> EpisodeDataset:
        """Collect this round's real steps; without learning from them, the first round's are random."""
        cycle, config = self.cycle, self.session.config
        steps = real_steps(cycle, self.index)
        if cycle.learn_from_real:
            # In new episodes: the agent has lived in another world since the last.
            spec = real_spec(cycle, config)
            recording = Recording(spec.num_envs)
            with closing(make_envs(replace(spec, seed=spec.seed + 1000 * self.index))) as envs:
                self.learn_in(envs, steps, recording)
            collected, returns = recording.episodes(), recording.returns
        else:
            envs = collector.envs
            random = RandomActor(envs.action_space, envs.num_envs, config.seed)
            collector.agent = self.agent if self.index else random
            with self.session.acting():
                collected, returns = record(collector, steps, self.session.signals)
        mean = f", mean return {return_text(sum(returns) / len(returns))}" if returns else ""
        self.say(f"{collected.num_steps:,} real steps, {len(returns)} episodes ended{mean}")
        return collected

    def fit(self, episodes: EpisodeDataset, envs: Envs) -> Fit:
        """Fit a new world model to all real steps so far."""
        config, cycle = self.session.config, self.cycle
        seed = config.seed + self.index
        settings = replace(model_config(cycle, config), seed=seed)
        model = build_world_model(settings, envs.observation_space, envs.action_space)
        with as_usage_errors():
            fit = Fit(model, episodes, cycle.fit, seed)
        self.say(f"fitting to {episodes.num_steps:,} real steps")
        run_fit(fit, lambda metrics, update: None)
        return fit

    def dream(self, model: WorldModel, episodes: EpisodeDataset) -> None:
        """Learn this round's dreamt steps."""
        cycle, config = self.cycle, self.session.config
        starts = find_starts(model, episodes, config.dream, seed=config.seed)
        settings = replace(config.dream, horizon=horizon(cycle, config, self.index))
        dream = Dream(model, starts, config.num_envs, settings)
        envs = BackendEnvs(DreamBackend(dream, config.seed + self.index))
        self.learn_in(envs, dreamt_steps(cycle, config, self.index))

    def learn_in(self, envs: Envs, steps: int, recording: Recording | None = None) -> None:
        """Learn for a number of steps in environments that are left then, or until a signal is caught."""
        session, clock = self.session, self.session.clock
        log, goal = MetricsLog(session.tracker, clock, Meter()), clock.step + steps
        collector = ClosingCollector(Collector(self.agent, envs), steps, recording)
        with closing(Progress(session.config.steps, start_step=clock.step)) as progress:
            learn(session, self.agent, collector, log, progress, goal)
        if clock.step >= goal and clock.step > log.step:
            log.write(envs.restarts)

    def say(self, line: str) -> None:
        """Print a line that names the round."""
        say(f"round {self.index + 1}/{self.cycle.rounds}: {line}")


class ClosingCollector:
    """A collector in environments that are left after `steps`: the last step is truncated, and all may be recorded."""

    def __init__(self, collector: Collector, steps: int, recording: Recording | None):
        self.collector = collector
        self.envs = collector.envs
        self.steps_left = steps
        self.recording = recording

    def step(self) -> tuple[Transition, list[EndedEpisode]]:
        """Act once in every environment, as `Collector.step`."""
        transition, ended = self.collector.step()
        self.steps_left -= transition.num_steps
        if self.steps_left <= 0:
            transition = transition._replace(truncated=transition.truncated | ~transition.terminated)
        if self.recording is not None:
            self.recording.add(transition, ended)
        return transition, ended


def real_spec(cycle: CycleConfig, config: RunConfig) -> EnvSpec:
    """The real environments, stepped in this process."""
    seed = DATA_SEED + config.seed
    return replace(env_spec(config), num_envs=cycle.collect_envs, seed=seed, backend="sync")


def share(total: int, rounds: int, index: int) -> int:
    """Part of round `index` in a total that need not divide."""
    return total * (index + 1) // rounds - total * index // rounds


def real_steps(cycle: CycleConfig, index: int) -> int:
    """Real steps of a round, in whole steps of all environments: never more than the cycle's, all rounds together."""
    return share(cycle.real_steps // cycle.collect_envs, cycle.rounds, index) * cycle.collect_envs


def dreamt_steps(cycle: CycleConfig, config: RunConfig, index: int) -> int:
    """Dreamt steps of a round: all that the agent learns from, less the real ones where those count.

    All rounds together go over the total by less than one step of all environments, as every run does.
    """
    real = sum(real_steps(cycle, each) for each in range(cycle.rounds)) if cycle.learn_from_real else 0
    vector_steps = -(-(config.steps - real) // config.num_envs)
    return share(vector_steps, cycle.rounds, index) * config.num_envs


def horizon(cycle: CycleConfig, config: RunConfig, index: int) -> int:
    """Length of a round's dreams."""
    last = config.dream.horizon
    if cycle.first_horizon is None or cycle.rounds == 1:
        return last
    return round(cycle.first_horizon + (last - cycle.first_horizon) * index / (cycle.rounds - 1))


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
    """The report's numbers by their metrics' names; they are printed, too."""
    skill = {f"model/skill_{k}": value for k, value in report["skill"].items()}
    others = {
        f"model/{name}": report[name] for name in ("reward_r2", "terminal_recall", "terminal_precision")
    }
    numbers = {name: float(value) for name, value in (skill | others).items() if value is not None}
    say("  ".join(f"{name.removeprefix('model/')} {value:.3f}" for name, value in numbers.items()))
    return numbers
