"""Training one run in many processes: the loop of `training/run/loop.py`, each with its share of the copies."""

from __future__ import annotations

import zlib
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...envs.make import make_envs
from ...networks.optimizer import FlatAdam
from ...networks.stateful import Kept
from ..run.build import build_agent, set_threads, training_spec
from ..run.clocks import Clock, Meter, MetricsLog, cpu_seconds
from ..run.evaluate import Actor
from ..run.loop import learn, run_parts
from ..run.session import Checkpoints, Result, Session
from ..run.signals import caught_signals
from ..run.storage.checkpoint import load_checkpoint
from ..run.storage.packing import Part, restore
from ..settings.components import find_component
from ..settings.config import RunConfig
from ..settings.usage import RunFailedError, as_usage_errors
from ..tracking.progress import Progress
from ..tracking.tracker import Tracker
from .agents import RANKED, Ranked
from .copies import RankCollector, spec_of_rows
from .team import Team
from .together import TeamCollector, TeamEnvs

AnyCollector = RankCollector | TeamCollector


class TeamClock(Clock):
    """Counts the steps of all processes, each of which makes as many."""

    def __init__(self, ranks: int):
        # All of them work as much as this one does, but for evaluations.
        super().__init__(cpu_share=ranks)
        self.ranks = ranks

    def advance(self, steps: int) -> int:
        """Count this process's steps, and the others'; returns the step before."""
        return super().advance(steps * self.ranks)


@dataclass
class TeamSession(Session):
    """A session of which rank 0 alone evaluates, while the others wait for it."""

    collector: AnyCollector = field(kw_only=True)
    meter: Meter = field(kw_only=True)
    caught: list[int] = field(kw_only=True)
    """Signals of this process, which the others may not know yet."""

    def evaluate(self, actor: Actor) -> None:
        """Evaluate; a signal ends it without a result, and the run at this step in all processes."""
        if self.is_first:
            agreed, self.signals = self.signals, self.caught
            begun = cpu_seconds()
            try:
                super().evaluate(actor)
            finally:
                self.signals = agreed
                self.clock.count_once(cpu_seconds() - begun)
        self.meter.add_episodes(self.collector.meet())

    def has_missed_one(self) -> bool:
        """Whether there is no evaluation since the last time that one was due; rank 0 knows."""
        return bool(self.collector.team.hand_out(self.is_first and super().has_missed_one()))

    def check_folder(self) -> None:
        """Only rank 0 writes there; to the others it may not be visible."""
        if self.is_first:
            super().check_folder()

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.collector.team.rank == 0


class TeamCheckpoints(Checkpoints):
    """Checkpoints that hold what one process with all copies would hold; rank 0 writes them."""

    def __init__(
        self, session: TeamSession, parts: dict[str, Part], saved_step: int | None, collector: AnyCollector
    ):
        super().__init__(session, parts, saved_step)
        self.own, self.collector = parts, collector

    def save(self) -> None:
        """Gather the shares of all, and write them together, unless there is a checkpoint of this step."""
        if self.session.clock.step == self.saved_step:
            return
        meter, team = self.own["meter"], self.collector.team
        assert isinstance(meter, Meter)
        meter.add_episodes(self.collector.meet())
        joined = {name: Kept(state) for name, state in self.collector.joined().items()}
        if len(set(team.gather(fingerprint(self.own)))) > 1:
            raise RunFailedError("the networks of the processes have come apart; use machines that are alike")
        if team.rank > 0:
            self.saved_step = self.session.clock.step
            return
        self.parts = self.own | joined
        begun = cpu_seconds()
        super().save()
        self.session.clock.count_once(cpu_seconds() - begun)


def fingerprint(parts: dict[str, Part]) -> int:
    """A number that differs where learned parameters do, by one bit."""
    number = 0
    for part in parts.values():
        if isinstance(part, FlatAdam):
            number = zlib.crc32(part.vector.detach().cpu().numpy().tobytes(), number)
    return number


def states_of(checkpoint: Path | None, names: list[str]) -> dict[str, Any] | None:
    """The states of these parts that a checkpoint holds; None without one."""
    if checkpoint is None:
        return None
    kept = {name: Kept() for name in names}
    load_checkpoint(checkpoint, kept)
    return {name: part.state for name, part in kept.items()}


def train(
    team: Team,
    config: RunConfig,
    run_dir: Path,
    tracker: Tracker,
    progress: Progress,
    checkpoint: Path | None,
) -> Result:
    """Train with the others; `tracker`, `progress` and `checkpoint` are those of rank 0, which alone has them."""
    team.run_dir = run_dir
    team.use(config.device)
    # The threads of a machine are shared by its processes.
    set_threads(max(1, config.threads // team.place.local_size))
    with as_usage_errors():
        made = make_envs(spec_of_rows(training_spec(config), team.rows(config.num_envs)))
    with closing(made) as envs, caught_signals() as caught:
        agent = build_agent(config, envs.observation_space, envs.action_space, variant(config))
        collector: AnyCollector
        clock: Clock
        if isinstance(agent, Ranked):
            agent.join(team, config.num_envs)
            collector, clock = RankCollector(team, agent, envs, caught), TeamClock(team.size)
        else:
            collector, clock = TeamCollector(agent, TeamEnvs(team, envs, caught)), Clock(cpu_share=team.size)
        meter = Meter()
        parts = run_parts(agent, collector, meter, clock)
        states = team.hand_out(states_of(checkpoint, list(parts)) if team.rank == 0 else None)
        for name, part in parts.items() if states is not None else ():
            restore(part, collector.own_share(name, states[name]))
        session = TeamSession(
            config, run_dir, tracker, clock, collector.agreed, collector=collector, meter=meter, caught=caught
        )
        checkpoints = TeamCheckpoints(session, parts, None if states is None else clock.step, collector)
        if states is not None:
            session.evaluate_if_missed(agent)
        log = MetricsLog(tracker, clock, meter)
        learn(session, agent, collector, log, progress, config.steps, checkpoints)
        checkpoints.save()
        if not session.signals:
            session.evaluate(agent)
        return session.result()


def variant(config: RunConfig) -> type[Ranked] | None:
    """What is built in place of an agent that learns from rollouts; None where every process has all steps."""
    # An auxiliary loss keeps the steps that its agent takes in, which must be all.
    return None if config.auxiliary != "none" else RANKED.get(find_component("agent", config.agent))
