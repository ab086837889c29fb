"""Parallelised Q-network (Gallici et al. 2024, arXiv:2407.04811): no replay, no target network, lambda-returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Gt, Interval
from gymnasium import spaces
from torch import Tensor

from ..networks.action_spaces import VALUED
from ..networks.layers import Activation
from ..networks.masks import best_action
from ..networks.means import masked_mean
from ..networks.optimizer import FlatAdam
from ..networks.q_heads import JointActions, QHead, QNetwork, of_action
from ..networks.stateful import Stateful
from ..networks.torso import Torso
from ..networks.tree import tree_map
from .agent import Agent, Counter, Metrics, Transition, mean_metrics, named_generator
from .noise import with_random_rows
from .returns import generalized_advantages
from .schedules import Obstacle, Schedule, check_schedules, scheduled
from .storage.rollout import Rollout, rollout_obstacle
from .storage.sequences import to_tensor, to_tensors
from .torsos import Normalizers, initial_state, make_value_step

NO_NOISE = np.zeros(0, np.float32)


@dataclass(frozen=True)
class PQNConfig:
    """Parallelised Q-network."""

    learning_rate: Schedule = "linear(5e-4, 0)"
    """Adam's step size: a number, or linear(start, end) over the run."""
    rollout_length: Annotated[int, Gt(0)] = 32
    """Steps of every environment between updates."""
    batch_size: Annotated[int, Gt(0)] = 128
    """Steps in a minibatch."""
    epochs: Annotated[int, Gt(0)] = 4
    """Passes over each rollout."""
    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.99
    """Discount of the future, per step."""
    q_lambda: Annotated[float, Interval(ge=0, le=1)] = 0.65
    """0 trusts the next step's values, 1 trusts the rewards that followed."""
    epsilon: Schedule = "linear(1.0, 0.05, 0.5)"
    """Share of uniformly random actions: a number, or linear(start, end, fraction of the run)."""
    max_grad_norm: Annotated[float, Gt(0)] | None = 10.0
    """Longer gradients are scaled down to this length."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (120, 84)
    """Widths of hidden layers behind the encoder."""
    activation: Activation = "relu"
    """Non-linearity after each of them."""
    layer_norm: bool = True
    """Normalise each of them; this is what stands in for a target network."""

    def __post_init__(self) -> None:
        check_schedules(self, "learning_rate")
        check_schedules(self, "epsilon", maximum=1)

    def planned_updates(self, total_steps: int, num_envs: int) -> int:
        """Optimiser steps of a whole run."""
        steps = self.rollout_length * num_envs
        return total_steps // steps * self.epochs * -(-steps // self.batch_size)

    def obstacle(self, total_steps: int, num_envs: int) -> Obstacle | None:
        """What keeps a run from learning anything."""
        return rollout_obstacle(self.rollout_length, total_steps, num_envs)


class PQNBatch(NamedTuple):
    """Steps `[N, ...]`, tensors."""

    obs: Any
    action: Tensor
    returns: Tensor
    valid: Tensor


class PQN(Agent):
    """Collect a rollout with epsilon-greedy actions, then fit the values to its lambda-returns for a few epochs."""

    Config = PQNConfig
    takes = VALUED

    def __init__(
        self,
        config: PQNConfig,
        action_space: spaces.Space,
        make_torso: Callable[[], Torso],
        *,
        seed: int,
        total_steps: int,
        device: torch.device,
        compile: bool = False,
    ):
        self.config = config
        self.device = device
        torso = make_torso()
        self.actions = JointActions(action_space, torso.mask_space)
        if torso.has_memory:
            raise ValueError(
                "agent 'pqn' learns from single steps and cannot use a memory: choose memory 'none'"
            )
        head = QHead(
            torso.size,
            self.actions.count,
            hidden=config.hidden,
            activation=config.activation,
            layer_norm=config.layer_norm,
        )
        self.network = QNetwork(torso, head).to(device)
        self.optimizer = FlatAdam(self.network, max_grad_norm=config.max_grad_norm, compile=compile)
        self.values = make_value_step(self.network, device)
        self.normalizers = Normalizers([torso], device)
        self.no_noise = torch.zeros(0, device=device)
        self.rollout = Rollout(config.rollout_length)
        self.steps = Counter(total_steps)
        self.act_generator = named_generator(seed, "pqn/act")
        self.shuffle_generator = named_generator(seed, "pqn/shuffle")

    def initial_state(self, num_envs: int) -> np.ndarray:
        """No memory: `[num_envs, 0]`."""
        return initial_state([self.network.torso], num_envs)

    @property
    def epsilon(self) -> float:
        """Share of random actions now."""
        return scheduled(self.config.epsilon, self.steps.progress)

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[Any, np.ndarray]:
        """Take the actions of the highest value, or random ones with probability epsilon."""
        values, state = self.values(obs, state, first, NO_NOISE)
        if explore:
            random = self.act_generator.random(len(first)) < self.epsilon
            values = with_random_rows(values, random, self.act_generator)
        return self.actions.action(best_action(values, self.actions.allowed(obs))), state

    def learn(self, transition: Transition) -> Metrics:
        """Add a step to the rollout; update when it is full."""
        self.rollout.add(transition._replace(action=self.actions.index(transition.action)))
        self.steps.add(transition.num_steps)
        if not self.rollout.full:
            return {}
        metrics = self.update(self.rollout)
        self.rollout.clear()
        return metrics

    def update(self, rollout: Rollout) -> Metrics:
        """Fit the values to one rollout."""
        config, (length, num_envs) = self.config, rollout.reward.shape
        learning_rate = scheduled(config.learning_rate, self.steps.progress)
        arrays = (rollout.obs, rollout.action, rollout.valid)
        obs, action, valid = tree_map(lambda x: x.flatten(0, 1), to_tensors(arrays, self.device))
        self.normalizers.update(obs, rollout.valid.ravel())

        value = self._state_values(obs).reshape(length, num_envs)
        successors, _ = rollout.successors()
        next_value = rollout.next_values(value, self._state_values(to_tensors(successors, self.device)))
        # With V = max Q, lambda-returns are advantages added to the values they were measured from.
        returns = value + generalized_advantages(
            rollout.reward, value, next_value, rollout.terminated, rollout.done, config.gamma, config.q_lambda
        )

        steps: list[dict[str, Tensor]] = []
        for batch in self._minibatches(PQNBatch(obs, action, to_tensor(returns.ravel(), self.device), valid)):
            steps.append(self.optimizer.step(self.loss, (batch,), learning_rate))
        metrics = mean_metrics(steps)
        metrics["policy/epsilon"] = self.epsilon
        metrics["policy/learning_rate"] = learning_rate
        return metrics

    def loss(self, batch: PQNBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Half the squared error of the taken actions' values."""
        value = of_action(self.network(batch.obs, self.no_noise), batch.action).squeeze(-1)
        loss = masked_mean((value - batch.returns).square() / 2, batch.valid)
        return loss, {"loss/q": loss, "value/mean": masked_mean(value, batch.valid)}

    @torch.no_grad()
    def _state_values(self, obs: Any) -> np.ndarray:
        """Value `[N]` of the best action for observations `[N, ...]`."""
        values = self.network.head.values(self.network(obs, self.no_noise))
        best = best_action(values, self.actions.allowed(obs))
        return of_action(values.unsqueeze(-1), best).squeeze(-1).cpu().numpy()

    def _minibatches(self, data: PQNBatch) -> Iterator[PQNBatch]:
        """Yield every step once an epoch, in new random minibatches."""
        count = len(data.valid)
        size = min(self.config.batch_size, count)
        for _ in range(self.config.epochs):
            order = to_tensor(self.shuffle_generator.permutation(count), self.device)
            shuffled = tree_map(lambda x, order=order: x.index_select(0, order), tuple(data))
            for start in range(0, count, size):
                yield PQNBatch(*tree_map(lambda x, start=start: x[start : start + size], shuffled))

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Everything that a checkpoint must hold."""
        return {
            "network": self.network,
            "optimizer": self.optimizer,
            "rollout": self.rollout,
            "steps": self.steps,
            "act_generator": self.act_generator,
            "shuffle_generator": self.shuffle_generator,
        }
