"""One rollout of several agents: written in one go, read by each agent as its own columns."""

from __future__ import annotations

from typing import Any

from ...networks.tree import concatenated, tree_map
from ..agent import Transition
from .rollout import Rollout


class RolloutColumns(Rollout):
    """An agent's columns of a rollout that `JointRollout` fills; to the agent it is a rollout like any other."""

    def add(self, transition: Transition) -> None:
        """Count a step, which has been written already."""
        self.size += 1


class JointRollout:
    """The rollouts of several agents as one, `[T, S * B, ...]`."""

    def __init__(self, agents: list[Any], rows: list[slice]):
        self.agents = agents
        self.rows = rows
        self.whole = Rollout(agents[0].rollout.length, agents[0].rollout.state_every)
        for agent in agents:
            columns = RolloutColumns(self.whole.length, self.whole.state_every)
            columns.load_state_dict(agent.rollout.state_dict())
            agent.rollout = columns
        if agents[0].rollout._allocated:
            self._join()

    def _join(self) -> None:
        """Take over what agents have brought along."""
        each = [agent.rollout for agent in self.agents]
        newest = ["newest_state"] if each[0].size else []
        for name in (*Rollout._arrays, "state", "last_obs", "last_state", *newest):
            axis = 0 if name.startswith(("last", "newest")) else 1
            parts = [getattr(rollout, name) for rollout in each]
            setattr(self.whole, name, concatenated(parts, axis))
        self.whole.size = each[0].size
        self._share()

    def _share(self) -> None:
        """Let each agent's rollout show its columns."""
        for agent, rows in zip(self.agents, self.rows, strict=True):
            for name in (*Rollout._arrays, "state"):
                columns = tree_map(lambda x, rows=rows: x[:, rows], getattr(self.whole, name))
                setattr(agent.rollout, name, columns)
            for name in ("last_obs", "last_state"):
                setattr(
                    agent.rollout, name, tree_map(lambda x, rows=rows: x[rows], getattr(self.whole, name))
                )

    def add(self, transition: Transition) -> None:
        """Write one step of all agents' environments."""
        whole = self.whole
        if whole.full:
            whole.clear()
        fresh = not whole._allocated
        whole.add(transition)
        if fresh:
            self._share()
        for agent, rows in zip(self.agents, self.rows, strict=True):
            agent.rollout.newest_state = whole.newest_state[rows]
        for row, index, obs, state in whole.ends:
            agent, rows = self._owner(index)
            agent.rollout.ends.append((row, index - rows.start, obs, state))
        whole.ends.clear()

    def _owner(self, index: int) -> tuple[Any, slice]:
        each = self.rows[0].stop
        return self.agents[index // each], self.rows[index // each]
