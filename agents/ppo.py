"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347)."""

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
from ..networks.heads import policy_head, value_head
from ..networks.masks import masked
from ..networks.means import masked_mean
from ..networks.normalize import RewardScaler
from ..networks.optimizer import FlatAdam
from ..networks.stateful import Stateful
from ..networks.torso import Torso
from ..networks.tree import tree_map
from .agent import Agent, Counter, Metrics, Transition, mean_metrics, named_generator
from .noise import CorrelatedNormal
from .returns import generalized_advantages
from .schedules import Obstacle, Schedule, check_schedules, scheduled
from .storage.rollout import Rollout, rollout_obstacle
from .storage.sequences import Sequence, cut_windows, to_tensor, to_tensors
from .torsos import Normalizers, initial_state, make_joint_step


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimisation."""

    learning_rate: Schedule = 3e-4
    """Adam's step size: a number, or linear(start, end) over the run."""
    rollout_length: Annotated[int, Gt(0)] = 128
    """Steps of every environment between updates."""
    batch_size: Annotated[int, Gt(0)] = 256
    """Steps in a minibatch; with a memory, as many whole windows as they fill. A last one of a single step is added
    to the one before it."""
    sequence_length: Annotated[int, Gt(0)] = 32
    """With a memory: steps of a window, which begins with the memory it began with; how far back gradients reach."""
    epochs: Annotated[int, Gt(0)] = 4
    """Passes over each rollout."""
    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.99
    """Discount of the future, per step."""
    gae_lambda: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """0 trusts the value function, 1 trusts the rewards that followed."""
    clip_range: Schedule = 0.2
    """How far the probability ratio may move before its gradient stops: a number, or linear(start, end)."""
    value_clip_range: Annotated[float, Gt(0)] | None = None
    """The same for the value, in units of the return; off by default."""
    normalize_advantage: bool = True
    """Shift and scale the advantages of each minibatch to mean 0 and deviation 1."""
    normalize_reward: bool = False
    """Divide rewards by the running deviation of the discounted return."""
    value_coefficient: Annotated[float, Ge(0)] = 0.5
    """Weight of the value loss."""
    entropy_coefficient: Schedule = 0.0
    """Weight of the entropy bonus: a number, or linear(start, end) over the run."""
    max_grad_norm: Annotated[float, Gt(0)] | None = 0.5
    """Longer gradients are scaled down to this length."""
    target_kl: Annotated[float, Gt(0)] | None = None
    """Stop an update where the policy has moved 1.5 times this far (in nats), before the next step; off by default."""
    share_torso: bool | None = None
    """One torso for policy and value; by default only where observations are images."""
    log_std: float = 0.0
    """Box actions: initial log standard deviation, in units of half the action range."""
    squash: bool = False
    """Box actions: keep them inside their bounds by a tanh."""
    noise_correlation: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Box actions: correlation of the exploration noise from one step to the next."""

    def __post_init__(self) -> None:
        check_schedules(self, "learning_rate", "clip_range", "entropy_coefficient")

    def planned_updates(self, total_steps: int, num_envs: int) -> int:
        """Optimiser steps of a whole run."""
        steps = self.rollout_length * num_envs
        return total_steps // steps * self.epochs * -(-steps // self.batch_size)

    def obstacle(self, total_steps: int, num_envs: int) -> Obstacle | None:
        """What keeps a run from learning anything."""
        return rollout_obstacle(self.rollout_length, total_steps, num_envs)


class PPOBatch(NamedTuple):
    """Windows of a rollout `[L, N, ...]`, tensors; "old" is what the networks said before the update."""

    obs: Any
    first: Tensor
    action: Tensor
    old_log_prob: Tensor
    old_value: Tensor
    advantage: Tensor
    returns: Tensor
    valid: Tensor
    state: Tensor
    """Memory `[1, N, S]` before each window."""


class PPO(Agent):
    """Collect a rollout with the current policy, then improve it for a few epochs while staying close to it."""

    Config = PPOConfig
    takes = SAMPLED

    def __init__(
        self,
        config: PPOConfig,
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
        if config.batch_size == 1 and config.normalize_advantage and not torso.has_memory:
            raise ValueError(
                "batch_size: the advantage of one lone step, normalised, is always 0; use at least 2, or "
                "--agent.no-normalize-advantage"
            )
        share = torso.shared_by_default if config.share_torso is None else config.share_torso
        value_torso = torso if share else make_torso()
        head = policy_head(
            torso.size,
            action_space,
            mask_space=torso.mask_space,
            log_std=config.log_std,
            squash=config.squash,
        )
        self.networks = nn.ModuleDict(
            {
                "torso": torso,
                "head": head,
                "value_torso": value_torso,
                "value_head": value_head(value_torso.size),
            }
        ).to(device)
        self.torso, self.head, self.value_torso = torso, head, value_torso
        compile = compile and torso.traceable
        self.optimizer = FlatAdam(
            self.networks, epsilon=1e-5, max_grad_norm=config.max_grad_norm, compile=compile
        )
        # A value network of its own has a memory of its own.
        self.torsos = [torso] if share else [torso, value_torso]
        self.forward = make_joint_step(self.torsos, head.layer, device)
        self.normalizers = Normalizers(self.torsos, device)
        self.reward_scaler = RewardScaler(config.gamma)
        # Without a memory a window is one step.
        self.window = min(config.sequence_length, config.rollout_length) if torso.has_memory else 1
        self.rollout = Rollout(config.rollout_length, state_every=self.window)
        self.steps = Counter(total_steps)
        self.act_generator = named_generator(seed, "ppo/act")
        self.shuffle_generator = named_generator(seed, "ppo/shuffle")
        self.noise = CorrelatedNormal(config.noise_correlation, self.act_generator)
        if config.noise_correlation > 0 and not isinstance(action_space, spaces.Box):
            raise ValueError(f"noise_correlation is for Box actions, got {action_space}; leave it at 0")
        # What actions are drawn from.
        self.source: Any = self.noise if config.noise_correlation > 0 else self.act_generator

    def initial_state(self, num_envs: int) -> np.ndarray:
        """Memory `[num_envs, S]` of the policy, then that of the value where it has its own."""
        return initial_state(self.torsos, num_envs)

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[Any, np.ndarray]:
        """Sample actions from the policy, or take its most likely ones."""
        outputs, next_state = self.forward(obs, state, first)
        outputs = masked(outputs, self.head.allowed(obs))
        return self.head.choose(outputs, self.source if explore else None), next_state

    def learn(self, transition: Transition) -> Metrics:
        """Add a step to the rollout; update when it is full."""
        self.rollout.add(transition._replace(action=self.head.stored(transition.action)))
        self.steps.add(transition.num_steps)
        if not self.rollout.full:
            return {}
        metrics = self.update(self.rollout)
        self.rollout.clear()
        return metrics

    def update(self, rollout: Rollout) -> Metrics:
        """Improve policy and value on one rollout."""
        config, progress = self.config, self.steps.progress
        learning_rate = scheduled(config.learning_rate, progress)
        clip_range, entropy_coefficient = (
            torch.tensor(scheduled(x, progress), device=self.device)
            for x in (config.clip_range, config.entropy_coefficient)
        )

        sequence = Sequence(*to_tensors(rollout.sequence(), self.device))
        self.normalizers.update(sequence.obs, rollout.valid)
        log_prob, value, next_value = self._evaluate(rollout, sequence)
        reward = rollout.reward
        if config.normalize_reward:
            arrays = (torch.from_numpy(x) for x in (reward, rollout.done, rollout.valid))
            reward = self.reward_scaler(*arrays).numpy()
        advantage = generalized_advantages(
            reward, value, next_value, rollout.terminated, rollout.done, config.gamma, config.gae_lambda
        )
        returns = advantage + value

        data = PPOBatch(
            obs=sequence.obs,
            first=sequence.first,
            action=sequence.action,
            old_log_prob=log_prob,
            old_value=to_tensor(value, self.device),
            advantage=to_tensor(advantage, self.device),
            returns=to_tensor(returns, self.device),
            valid=sequence.valid,
            state=sequence.state,
        )
        far = None if config.target_kl is None else 1.5 * config.target_kl
        steps: list[dict[str, Tensor]] = []
        for batch in self.minibatches(data):
            before = self.optimizer.snapshot() if far else None
            arguments = (batch, clip_range, entropy_coefficient)
            steps.append(self.optimizer.step(self.loss, arguments, learning_rate))
            # The divergence is that before the step, which is known once it is taken.
            if before and far and steps[-1]["policy/approx_kl"] > far:
                self.optimizer.take_back(before)
                break

        metrics = mean_metrics(steps)
        if returns[rollout.valid].var() > 0:  # nothing to explain in equal returns
            metrics["value/explained_variance"] = explained_variance(value, returns, rollout.valid)
        metrics["policy/learning_rate"] = learning_rate
        return metrics

    def loss(
        self, batch: PPOBatch, clip_range: Tensor, entropy_coefficient: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Clipped surrogate, value and entropy losses of windows (eqs. 7 and 9)."""
        config, valid, advantage = self.config, batch.valid, self.advantages(batch)
        policy, value = self._policy_and_value(batch.obs, batch.state[0], batch.first)

        log_ratio = policy.log_prob(batch.action) - batch.old_log_prob
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
        policy_loss = -masked_mean(torch.minimum(ratio * advantage, clipped * advantage), valid)

        value_error = (value - batch.returns).square()
        if config.value_clip_range is not None:
            change = (value - batch.old_value).clamp(-config.value_clip_range, config.value_clip_range)
            value_error = torch.maximum(value_error, (batch.old_value + change - batch.returns).square())
        value_loss = masked_mean(value_error, valid)

        entropy = masked_mean(policy.entropy(), valid)
        loss = policy_loss + config.value_coefficient * value_loss - entropy_coefficient * entropy
        return loss, {
            "loss/policy": policy_loss,
            "loss/value": value_loss,
            "policy/entropy": entropy,
            # Schulman's estimator k3: unbiased and never negative (joschu.net/blog/kl-approx.html).
            "policy/approx_kl": masked_mean(ratio - 1 - log_ratio, valid),
            "policy/clip_fraction": masked_mean(((ratio - 1).abs() > clip_range).float(), valid),
        }

    def advantages(self, batch: PPOBatch) -> Tensor:
        """Advantages `[L, N]` as the loss takes them, normalised over the minibatch."""
        valid, advantage = batch.valid, batch.advantage
        if not self.config.normalize_advantage or advantage.numel() == 1:
            return advantage
        center = masked_mean(advantage, valid)
        # Unbiased, as in the reference implementations; one lone step has no deviation.
        variance = (valid * (advantage - center).square()).sum() / (valid.sum() - 1).clamp(min=1)
        return (advantage - center) / (variance.sqrt() + 1e-8)

    def _policy_and_value(self, obs: Any, state: Tensor, first: Tensor) -> tuple[Any, Tensor]:
        """Distribution over actions and value `[T, B]` of observations `[T, B, ...]`, from memory `[B, S]` on."""
        features, _ = self.torso(obs, state[:, : self.torso.state_size], first)
        policy = self.head(features, self.head.allowed(obs))
        if self.value_torso is self.torso:
            return policy, self.networks["value_head"](features).squeeze(-1)
        return policy, self._value(obs, state, first)

    def _value(self, obs: Any, state: Tensor, first: Tensor) -> Tensor:
        """Value `[T, B]` of observations `[T, B, ...]`; its memory is the last part of `state [B, S]`."""
        own = state[:, state.shape[1] - self.value_torso.state_size :]
        features, _ = self.value_torso(obs, own, first)
        return self.networks["value_head"](features).squeeze(-1)

    @torch.no_grad()
    def _evaluate(self, rollout: Rollout, sequence: Sequence) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Log-probability, value and successor's value `[T, B]` of every step, in one pass.

        The parameters have not changed since the rollout began, so nothing of this was needed while acting. Running
        statistics of observations have: the policy that acted saw them as they were a rollout before.
        """
        policy, value = self._policy_and_value(sequence.obs, sequence.state[0], sequence.first)
        obs, state = to_tensors(rollout.successors(), self.device)
        chunk, no_first = tree_map(lambda x: x[None], obs), sequence.first.new_zeros(1, len(state))
        values, successor_values = value.cpu().numpy(), self._value(chunk, state, no_first)[0].cpu().numpy()
        return policy.log_prob(sequence.action), values, rollout.next_values(values, successor_values)

    def minibatches(self, data: PPOBatch) -> Iterator[PPOBatch]:
        """Cut `[T, B, ...]` into windows `[L, N, ...]`; yield each once an epoch, in new random minibatches."""
        length = self.window
        windows = cut_windows(data, length)
        num_windows = windows.valid.shape[1]
        size = min(max(1, self.config.batch_size // length), num_windows)
        sizes = [min(size, num_windows - start) for start in range(0, num_windows, size)]
        if len(sizes) > 1 and sizes[-1] * length == 1 < size:
            # One lone step has no deviation to normalise by: it joins the minibatch before.
            sizes[-2:] = [size + 1]
        for _ in range(self.config.epochs):
            order = to_tensor(self.shuffle_generator.permutation(num_windows), self.device)
            shuffled = tree_map(
                lambda x, order=order: [*x.index_select(1, order).split(sizes, 1)], tuple(windows)
            )
            for k in range(len(sizes)):
                yield PPOBatch(*tree_map(lambda parts, k=k: parts[k], shuffled))

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Everything that a checkpoint must hold."""
        return {
            "networks": self.networks,
            "optimizer": self.optimizer,
            "reward_scaler": self.reward_scaler,
            "rollout": self.rollout,
            "steps": self.steps,
            "act_generator": self.act_generator,
            "noise": self.noise,
            "shuffle_generator": self.shuffle_generator,
        }


def explained_variance(value: np.ndarray, returns: np.ndarray, valid: np.ndarray) -> float:
    """`1 - Var(returns - value) / Var(returns)` over valid steps: 1 is perfect, 0 no better than a constant."""
    variance = returns[valid].var()
    return float(1 - (returns - value)[valid].var() / variance) if variance > 0 else float("nan")
