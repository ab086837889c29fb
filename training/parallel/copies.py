"""A process's share of the copies of an environment, under the numbers that they have among all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium

from ...agents.agent import Transition
from ...envs.backends.copies import EnvCopies
from ...envs.backends.sync import SyncBackend
from ...envs.make import EnvSpec, single_maker
from ...envs.registry import find_environment
from ...envs.seeds import episode_seed
from ...envs.vector import Envs, Episode
from ...envs.wrappers.wrapper import EnvsWrapper
from ..run.collect import Collector
from .agents import Ranked
from .state import joined_copies, joined_rollouts, split_copies, split_rollout
from .team import Team


class SomeCopies(EnvCopies):
    """Copies that begin the episodes that they would as those from `offset` on in one process."""

    def __init__(self, make: Callable[[int], gymnasium.Env], offset: int, count: int, seed: int):
        self.offset = offset
        super().__init__(make, 0, count, seed)

    def seed_of(self, row: int) -> int:
        """Seed of the running episode of a copy."""
        return episode_seed(self.seed, self.offset + row, int(self.episode[row]))


def spec_of_rows(spec: EnvSpec, rows: slice) -> EnvSpec:
    """The same environments, but only those `rows` of all copies, stepped by backend `sync`."""
    count = rows.stop - rows.start
    return replace(spec, num_envs=count, backend_maker=partial(_make_backend, offset=rows.start))


def _make_backend(spec: EnvSpec, offset: int) -> SyncBackend:
    make = single_maker(spec, find_environment(spec.id))
    return SyncBackend(make, spec.num_envs, spec.seed, SomeCopies(make, offset, spec.num_envs, spec.seed))


class OwnEnvs(EnvsWrapper):
    """This process's copies, which also knows how many of the others' were made anew."""

    elsewhere = 0

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """How many copies of all processes have failed and were made anew."""
        return self.envs.restarts + self.elsewhere


class RankCollector:
    """Steps an agent and its own copies; with the last step of a rollout come the episodes of all processes.

    Signals are agreed on then, too: what any process has caught is in `agreed` of each, in the same step.
    """

    def __init__(self, team: Team, agent: Ranked, envs: Envs, caught: list[int]):
        self.team, self.agent, self.caught = team, agent, caught
        self.agreed: list[int] = []
        self.own = Collector(agent, envs)
        self.copies = OwnEnvs(envs)
        self.envs: Envs = self.copies
        self.rows = team.rows(envs.num_envs * team.size)
        self.waiting: list[Episode] = []

    def step(self) -> tuple[Transition, list[Episode]]:
        """Act once in every copy of this process."""
        transition, episodes = self.own.step()
        self.waiting += [each._replace(env_index=each.env_index + self.rows.start) for each in episodes]
        rollout = self.agent.rollout
        return transition, self.meet() if rollout.size + 1 == rollout.length else []

    def meet(self) -> list[Episode]:
        """Tell each other what has happened since the last time; returns the episodes that ended."""
        restarts = self.copies.envs.restarts
        told = self.team.gather((self.waiting, restarts, list(self.caught)))
        self.waiting = []
        self.copies.elsewhere = sum(each[1] for each in told) - restarts
        self.agreed += [signal for each in told for signal in each[2]][: not self.agreed]
        return [episode for each in told for episode in each[0]]

    def joined(self) -> dict[str, Any]:
        """States of the parts of which a process has a share, as one process with all copies would have them."""
        told = self.team.gather((self.state_dict(), self.agent.rollout.state_dict()))
        copies, rollouts = zip(*told, strict=True)
        return {
            "collector": joined_copies(copies),
            "agent.rollout": joined_rollouts(rollouts, self.envs.num_envs),
        }

    def own_share(self, name: str, state: Any) -> Any:
        """This process's share of a part's state."""
        if name == "collector":
            return split_copies(state, self.rows)
        return split_rollout(state, self.rows) if name == "agent.rollout" else state

    def state_dict(self) -> dict[str, Any]:
        """Place of this process's copies, and the agent's memory there."""
        return self.own.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.own.load_state_dict(state)
