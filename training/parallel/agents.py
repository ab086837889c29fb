"""Agents of a run in many processes: each acts for its own copies, and learns from the steps of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...agents.agent import Agent, Counter, Metrics, Transition
from ...agents.ppo import PPO, PPOBatch
from ...agents.pqn import NO_NOISE, PQN
from ...agents.storage.rollout import Rollout
from ...networks.masks import best_action
from ...networks.optimizer import FlatAdam
from .gradients import SharedStep
from .state import joined_rollouts
from .team import Team


class OwnRows:
    """Draws numbers for all copies, as one process would, and returns those of this process's."""

    def __init__(self, source: Any, rows: slice, num_envs: int):
        self.source, self.rows, self.num_envs = source, rows, num_envs

    def standard_normal(self, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        """Of mean 0 and deviation 1."""
        return self.source.standard_normal((self.num_envs, *shape[1:]), dtype)[self.rows]

    def standard_exponential(self, shape: tuple[int, ...]) -> np.ndarray:
        """Of mean 1."""
        return self.source.standard_exponential((self.num_envs, *shape[1:]))[self.rows]

    def logistic(self, *, size: tuple[int, ...]) -> np.ndarray:
        """Of mean 0 and scale 1."""
        return self.source.logistic(size=(self.num_envs, *size[1:]))[self.rows]


class Ranked(Agent):
    """Mixin of agents that learn from rollouts: theirs is joined with the others' before each update.

    All that follows is the same in every process, since networks, statistics and random generators are; only the
    gradient of each step is shared out (`SharedStep`).
    """

    team: Team
    num_envs: int
    rollout: Rollout
    optimizer: FlatAdam
    share: SharedStep
    steps: Counter

    def join(self, team: Team, num_envs: int) -> None:
        """Learn with the others; `num_envs` are the copies of all."""
        self.team, self.num_envs = team, num_envs
        self.optimizer.share = self.share = SharedStep(team)

    def learn(self, transition: Transition) -> Metrics:
        """Take in one step of this process's copies; the others have made as many."""
        self.steps.add(transition.num_steps * (self.team.size - 1))
        return super().learn(transition)  # type: ignore[safe-super]

    def update(self, rollout: Rollout) -> Metrics:
        """Learn from the rollouts of all."""
        whole = Rollout(rollout.length, rollout.state_every)
        states = self.team.gather(rollout.state_dict())
        whole.load_state_dict(joined_rollouts(states, self.num_envs // self.team.size))
        return super().update(whole)  # type: ignore[misc]


class RankedPPO(Ranked, PPO):
    """PPO whose advantages are normalised over whole minibatches, also where the loss sees a part."""

    normalized = False
    """Whether those of the minibatch that is being learned from are normalised already."""

    def join(self, team: Team, num_envs: int) -> None:
        """Draw as one process would."""
        super().join(team, num_envs)
        self.source = OwnRows(self.source, team.rows(num_envs), num_envs)

    def minibatches(self, data: PPOBatch) -> Iterator[PPOBatch]:
        """Minibatches of all steps."""
        for batch in super().minibatches(data):
            self.normalized = False
            if self.share.shares(self.optimizer, batch):
                batch = batch._replace(advantage=self.advantages(batch))
                self.normalized = True
            yield batch

    def advantages(self, batch: PPOBatch) -> Any:
        """They are what the loss takes."""
        return batch.advantage if self.normalized else super().advantages(batch)


class RankedPQN(Ranked, PQN):
    """PQN that draws random actions as one process would."""

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[Any, np.ndarray]:
        """Take the actions of the highest value, or random ones with probability epsilon."""
        values, state = self.values(obs, state, first, NO_NOISE)
        if explore:
            random = self.act_generator.random(self.num_envs) < self.epsilon
            drawn = self.act_generator.random((np.count_nonzero(random), values.shape[1]))
            everyone = np.zeros((self.num_envs, values.shape[1]), drawn.dtype)
            everyone[random] = drawn
            rows = self.team.rows(self.num_envs)
            # As `with_random_rows` does, in the type of the values.
            values = np.where(random[rows, None], everyone[rows].astype(values.dtype), values)
        return self.actions.action(best_action(values, self.actions.allowed(obs))), state


RANKED: dict[type[Agent], type[Ranked]] = {PPO: RankedPPO, PQN: RankedPQN}
