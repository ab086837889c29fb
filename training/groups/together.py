"""Several agents as one: they act in one pass, keep their steps in one place, and each learns by its own lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...agents.agent import Metrics, Transition
from ...agents.ppo import PPO
from ...agents.pqn import PQN
from ...agents.storage.columns import JointRollout
from ...envs.actions import ActionError, wrong
from ...networks.tree import tree_map
from .acting import JointActing


class Together:
    """Acts for all agents on `[S * B, ...]` rows, agent after agent, and lets each learn from its own.

    To each agent it is as if it were alone: it draws from its own generators, in the same order.
    """

    def __init__(self, agents: Sequence[Any], copies_each: int):
        self.agents = agents
        self.rows = [slice(i * copies_each, (i + 1) * copies_each) for i in range(len(agents))]
        self.acting = JointActing(agents, self.rows)
        self.rollout = JointRollout(list(agents), self.rows) if isinstance(agents[0], PPO | PQN) else None
        self.lost: dict[int, ActionError] = {}
        """Agents that have chosen what is no number: zeros are executed in its place, so that the others can go on."""

    def initial_state(self, num_envs: int) -> np.ndarray:
        """No memory."""
        return self.agents[0].initial_state(num_envs)

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[Any, np.ndarray]:
        """Choose actions `[S * B, ...]`."""
        action, state = self.acting.act(obs, state, first)
        return tree_map(self._numbers, action), state

    def _numbers(self, action: np.ndarray) -> np.ndarray:
        """A part of the actions, without what is no number."""
        if action.dtype.kind != "f" or np.isfinite(action).all():
            return action
        odd = ~np.isfinite(action)
        for index, rows in enumerate(self.rows):
            if odd[rows].any():
                self.lost.setdefault(index, wrong(action[rows], odd[rows], ""))
        return np.where(odd, 0, action).astype(action.dtype)

    def learn(self, transition: Transition, learning: Sequence[bool]) -> list[Metrics]:
        """Let those agents take in their rows that are `learning`; returns what each reports, `{}` for most."""
        if self.rollout is None:
            reports = [
                agent.learn(rows_of(transition, rows)) if wanted else {}
                for agent, rows, wanted in zip(self.agents, self.rows, learning, strict=True)
            ]
        else:
            reports = self._learn_from_rollouts(self.rollout, transition, learning)
        if any(reports):
            self.acting.refresh()
        return reports

    def _learn_from_rollouts(
        self, joint: JointRollout, transition: Transition, learning: Sequence[bool]
    ) -> list[Metrics]:
        """One write for all; the agents themselves are called once their rollouts are full."""
        agent: Any = self.agents[0]
        stored = agent.head.stored if isinstance(agent, PPO) else agent.actions.index
        joint.add(transition._replace(action=stored(transition.action)))
        if not joint.whole.full:
            steps = num_steps(transition, len(self.agents))
            for each, count in zip(self.agents, steps, strict=True):
                each.rollout.size += 1
                each.steps.add(count)
            return [{}] * len(self.agents)
        reports: list[Metrics] = []
        for each, rows, wanted in zip(self.agents, self.rows, learning, strict=True):
            if wanted:
                reports.append(each.learn(rows_of(transition, rows)))
            else:
                each.rollout.clear()
                reports.append({})
        return reports


def num_steps(transition: Transition, runs: int) -> list[int]:
    """Environment steps of each run in a transition."""
    if transition.valid is None:
        return [len(transition.reward) // runs] * runs
    return np.count_nonzero(transition.valid.reshape(runs, -1), axis=1).tolist()


def rows_of(transition: Transition, rows: slice) -> Transition:
    """The rows of one run."""
    return Transition(*(_rows(part, rows) for part in transition))


def _rows(part: Any, rows: slice) -> Any:
    # Mostly it is an array, which needs no walk through a tree.
    if part is None or isinstance(part, np.ndarray):
        return None if part is None else part[rows]
    return tree_map(lambda x: x[rows], part)
