"""All copies in every process: each steps its own, and all are told what happened in each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...envs.vector import Envs, EnvStep, Episode, side_by_side
from ...envs.wrappers.wrapper import EnvsWrapper
from ...networks.tree import concatenated, tree_map
from ..run.collect import Collector
from ..run.evaluate import Actor
from .state import joined_copies, split_copies
from .team import Team


class TeamEnvs(EnvsWrapper):
    """The copies of all processes; whoever acts in them and learns from them does the same in each process.

    Signals that a process has caught are in `agreed` of all, in the same step.
    """

    def __init__(self, team: Team, own: Envs, caught: list[int]):
        super().__init__(own)
        self.team, self.caught = team, caught
        self.agreed: list[int] = []
        self.num_envs = own.num_envs * team.size
        self.rows = team.rows(self.num_envs)
        self._restarts = 0
        self._obs: Any = None
        self._first = np.ones(self.num_envs, bool)

    def _look(self) -> Any:
        """Join what all processes act on next."""
        told = self.team.gather((self.envs.obs, self.envs.first))
        self._obs, self._first = (
            concatenated([obs for obs, _ in told]),
            np.concatenate([first for _, first in told]),
        )
        return self._obs

    @property
    def obs(self) -> Any:  # type: ignore[override]
        """What to act on next, `[B, ...]`."""
        return self._obs

    @property
    def first(self) -> np.ndarray:  # type: ignore[override]
        """`[B]` bool: `obs` opens an episode."""
        return self._first

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """How many copies have failed and were made anew."""
        return self._restarts

    def reset(self) -> Any:
        """Begin episode 0 everywhere."""
        self.envs.reset()
        return self._look()

    def begin_next(self) -> Any:
        """Begin the next episode everywhere."""
        self.envs.begin_next()
        return self._look()

    def step(self, action: Any) -> EnvStep:
        """Step this process's copies with their actions; returns the step of all."""
        own = self.envs.step(tree_map(lambda x: x[self.rows], action))
        same = own.obs is own.next_obs
        sent = own._replace(obs=None if same else own.obs, info={})
        told = self.team.gather((sent, self.envs.restarts, list(self.caught)))
        self._restarts = sum(each[1] for each in told)
        self.agreed += [signal for each in told for signal in each[2]][: not self.agreed]
        steps = [step._replace(obs=step.next_obs) if step.obs is None else step for step, *_ in told]
        step = side_by_side(steps)
        self._obs, self._first = step.obs, step.first
        return step

    def state_dict(self) -> dict[str, Any]:
        """What one process with all copies would say."""
        return joined_copies(self.team.gather(self.envs.state_dict()))

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Continue from there, exactly or with new episodes everywhere; returns which."""
        exact = self.envs.load_state_dict(split_copies(state, self.rows))
        self._look()
        return all(self.team.gather(exact))


class TeamCollector(Collector):
    """Steps an agent, which is the same in every process, in the copies of all."""

    def __init__(self, agent: Actor, envs: TeamEnvs):
        super().__init__(agent, envs)
        self.copies = envs
        self.team, self.agreed = envs.team, envs.agreed

    def meet(self) -> list[Episode]:
        """Agree on signals; what has happened is known already."""
        told = self.team.gather(list(self.copies.caught))
        self.agreed += [signal for each in told for signal in each][: not self.agreed]
        return []

    def joined(self) -> dict[str, Any]:
        """States of the parts of which a process has a share."""
        return {"collector": self.state_dict()}

    def own_share(self, name: str, state: Any) -> Any:
        """This process's share of a part's state."""
        return state
