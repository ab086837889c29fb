"""Behaviour cloning: supervised learning of what a teacher did (Pomerleau 1989; the losses of `imitation`'s BC)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from gymnasium import spaces
from torch import Tensor, nn

from ..networks.action_spaces import SAMPLED
from ..networks.distributions import Policy
from ..networks.heads import policy_head
from ..networks.masks import masked
from ..networks.means import masked_mean
from ..networks.numpy_twins.acting import make_step
from ..networks.optimizer import FlatAdam
from ..networks.stateful import Stateful
from ..networks.torso import Torso
from ..networks.tree import tree_map
from .agent import Agent, Counter, Metrics, Transition, mean_metrics, named_generator
from .schedules import Obstacle, Schedule, check_schedules, scheduled
from .storage.rollout import Rollout, rollout_obstacle
from .storage.sequences import Sequence, cut_windows, to_tensor, to_tensors
from .torsos import Normalizers, initial_state


@dataclass(frozen=True)
class BCConfig:
    """Behaviour cloning; --steps counts demonstrated steps learned from, each time again."""

    learning_rate: Schedule = 1e-3
    """Adam's step size: a number, or linear(start, end) over the run."""
    rollout_length: Annotated[int, Gt(0)] = 128
    """Steps of every column of demonstrations (--num-envs of them) that are shuffled together."""
    batch_size: Annotated[int, Gt(0)] = 64
    """Steps in a minibatch; with a memory, as many whole windows as they fill."""
    sequence_length: Annotated[int, Gt(0)] = 32
    """With a memory: steps of a window, which begins with the memory it began with; how far back gradients reach."""
    entropy_coefficient: Schedule = 1e-3
    """Weight of the entropy bonus, which keeps the policy from becoming certain of what it has seen once."""
    l2_coefficient: Annotated[float, Ge(0)] = 0.0
    """Weight of half the squared length of all parameters."""
    max_grad_norm: Annotated[float, Gt(0)] | None = 0.5
    """Longer gradients are scaled down to this length."""
    held_out_share: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Share of the episodes, rounded down, that are not learned from: loss/held_out is theirs."""
    log_std: float = 0.0
    """Box actions: initial log standard deviation, in units of half the action range."""
    squash: bool = False
    """Box actions: keep them inside their bounds by a tanh."""

    def __post_init__(self) -> None:
        check_schedules(self, "learning_rate", "entropy_coefficient")

    def planned_updates(self, total_steps: int, num_envs: int) -> int:
        """Optimiser steps of a whole run."""
        steps = self.rollout_length * num_envs
        return total_steps // steps * -(-steps // self.batch_size)

    def obstacle(self, total_steps: int, num_envs: int) -> Obstacle | None:
        """What keeps a run from learning anything."""
        return rollout_obstacle(self.rollout_length, total_steps, num_envs)


class BCBatch(NamedTuple):
    """Windows of demonstrations `[L, N, ...]`, tensors."""

    obs: Any
    first: Tensor
    action: Tensor
    valid: Tensor
    state: Tensor
    """Memory `[1, N, S]` before each window."""


class BC(Agent):
    """Make what the teacher did likely, in every state that the teacher was in.

    The transitions that it learns from are a teacher's: `act` is for the evaluation, and carries its memory along what
    the teacher saw. The head is that of PPO and REINFORCE, which can go on from here (`--init-from`).
    """

    Config = BCConfig
    takes = SAMPLED
    watches = True

    def __init__(
        self,
        config: BCConfig,
        action_space: spaces.Space,
        make_torso: Callable[[], Torso],
        *,
        seed: int,
        total_steps: int,
        device: torch.device,
        compile: bool = False,
    ):
        self.config, self.device = config, device
        self.torso = make_torso()
        self.head = policy_head(
            self.torso.size,
            action_space,
            mask_space=self.torso.mask_space,
            log_std=config.log_std,
            squash=config.squash,
        )
        self.networks = nn.ModuleDict({"torso": self.torso, "head": self.head}).to(device)
        # As in PPO: how a window is cut differs every time.
        compile = compile and not self.torso.has_memory
        self.optimizer = FlatAdam(self.networks, max_grad_norm=config.max_grad_norm, compile=compile)
        self.forward = make_step(self.torso, self.head.layer, device)
        self.normalizers = Normalizers([self.torso], device)
        # Without a memory a window is one step.
        self.window = min(config.sequence_length, config.rollout_length) if self.torso.has_memory else 1
        self.rollout = Rollout(config.rollout_length, state_every=self.window)
        self.held_out: Sequence | None = None
        self.steps = Counter(total_steps)
        self.act_generator = named_generator(seed, "bc/act")
        self.shuffle_generator = named_generator(seed, "bc/shuffle")

    def initial_state(self, num_envs: int) -> np.ndarray:
        """The policy's memory `[num_envs, S]` before any observation."""
        return initial_state([self.torso], num_envs)

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[Any, np.ndarray]:
        """Sample actions from the policy, or take its most likely ones."""
        outputs, state = self.forward(obs, state, first)
        outputs = masked(outputs, self.head.allowed(obs))
        return self.head.choose(outputs, self.act_generator if explore else None), state

    def hold_out(self, episodes: Sequence) -> None:
        """Take episodes to judge by, one a column `[T, B, ...]`; actions as the environment takes them."""
        rows = tree_map(lambda x: x.reshape(-1, *x.shape[2:]), episodes.action)
        action = self.head.stored(rows)
        action = action.reshape(*episodes.valid.shape, *action.shape[1:])
        self.held_out = Sequence(*to_tensors(episodes._replace(action=action), self.device))

    def learn(self, transition: Transition) -> Metrics:
        """Add a demonstrated step of every column; update when the rollout is full."""
        self.rollout.add(transition._replace(action=self.head.stored(transition.action)))
        self.steps.add(transition.num_steps)
        if not self.rollout.full:
            return {}
        metrics = self.update(self.rollout)
        self.rollout.clear()
        return metrics

    def update(self, rollout: Rollout) -> Metrics:
        """Pass once over some demonstrated steps, in minibatches."""
        config, progress = self.config, self.steps.progress
        learning_rate = scheduled(config.learning_rate, progress)
        entropy_coefficient = torch.tensor(
            scheduled(config.entropy_coefficient, progress), device=self.device
        )
        sequence = Sequence(*to_tensors(rollout.sequence(), self.device))
        self.normalizers.update(sequence.obs, rollout.valid)
        data = BCBatch(sequence.obs, sequence.first, sequence.action, sequence.valid, sequence.state)
        steps = [
            self.optimizer.step(self.loss, (batch, entropy_coefficient), learning_rate)
            for batch in self._minibatches(data)
        ]
        metrics = mean_metrics(steps) | {"policy/learning_rate": learning_rate}
        if self.held_out is not None:
            metrics["loss/held_out"] = self.judge(self.held_out)
        return metrics

    def loss(self, batch: BCBatch, entropy_coefficient: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`-mean(log pi(action | obs)) - c H + l2 |parameters|^2 / 2` over windows."""
        policy, _ = self._policy(batch.obs, batch.state[0], batch.first)
        loss = -masked_mean(policy.log_prob(batch.action), batch.valid)
        entropy = masked_mean(policy.entropy(), batch.valid)
        metrics = {"loss/policy": loss, "policy/entropy": entropy}
        loss = loss - entropy_coefficient * entropy
        if self.config.l2_coefficient > 0:
            squares = [parameter.square().sum() for parameter in self.networks.parameters()]
            loss = loss + 0.5 * self.config.l2_coefficient * torch.stack(squares).sum()
        return loss, metrics

    @torch.no_grad()
    def judge(self, episodes: Sequence) -> Tensor:
        """`-mean(log pi(action | obs))` of whole episodes, one a column `[T, B, ...]`; a piece at a time."""
        state, log_probs = self.torso.initial_state(episodes.valid.shape[1]), []
        for start in range(0, len(episodes.valid), self.config.rollout_length):
            rows = slice(start, start + self.config.rollout_length)
            obs, first, action = tree_map(
                lambda x, rows=rows: x[rows], (episodes.obs, episodes.first, episodes.action)
            )
            policy, state = self._policy(obs, state, first)
            log_probs.append(policy.log_prob(action))
        return -masked_mean(torch.cat(log_probs), episodes.valid)

    def _policy(self, obs: Any, state: Tensor, first: Tensor) -> tuple[Policy, Tensor]:
        """Distribution over actions of observations `[T, B, ...]`, from memory `[B, S]` on, and the memory after."""
        features, state = self.torso(obs, state, first)
        return self.head(features, self.head.allowed(obs)), state

    def _minibatches(self, data: BCBatch) -> Iterator[BCBatch]:
        """Cut `[T, B, ...]` into windows `[L, N, ...]`; yield each once, in random minibatches."""
        windows = cut_windows(data, self.window)
        order = to_tensor(self.shuffle_generator.permutation(windows.valid.shape[1]), self.device)
        for chosen in order.split(max(1, self.config.batch_size // self.window)):
            yield BCBatch(*tree_map(lambda x, chosen=chosen: x.index_select(1, chosen), tuple(windows)))

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Everything that a checkpoint must hold."""
        return {
            "networks": self.networks,
            "optimizer": self.optimizer,
            "rollout": self.rollout,
            "steps": self.steps,
            "act_generator": self.act_generator,
            "shuffle_generator": self.shuffle_generator,
        }
