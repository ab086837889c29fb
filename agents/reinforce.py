"""REINFORCE, the Monte-Carlo policy gradient (Williams 1992), with a baseline (Sutton & Barto 2018, section 13.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import Gt, Interval
from gymnasium import spaces
from torch import Tensor, nn

from ..networks.action_spaces import SAMPLED
from ..networks.heads import policy_head, value_head
from ..networks.masks import masked
from ..networks.means import masked_mean
from ..networks.normalize import RewardScaler
from ..networks.numpy_twins.acting import make_step
from ..networks.optimizer import FlatAdam
from ..networks.stateful import Stateful
from ..networks.torso import Torso
from ..networks.tree import tree_map
from .agent import Agent, Counter, Metrics, Store, Transition, mean_metrics, named_generator
from .returns import rewards_to_go
from .schedules import Obstacle, Schedule, check_schedules, scheduled
from .storage.episode_buffer import EpisodeBuffer
from .storage.sequences import Sequence, to_tensor, to_tensors
from .torsos import Normalizers, initial_state


@dataclass(frozen=True)
class REINFORCEConfig:
    """Monte-Carlo policy gradient with whole episodes."""

    learning_rate: Schedule = 3e-3
    """Adam's step size for the policy: a number, or linear(start, end) over the run."""
    steps_per_update: Annotated[int, Gt(0)] = 1000
    """Update when the episodes that finished since the last update have at least this many steps ..."""
    episodes_per_update: Annotated[int, Gt(0)] = 1
    """... and are at least this many."""
    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.99
    """Discount of the future, per step."""
    baseline: Literal["value", "none"] = "value"
    """What returns are compared with: a learned value, or nothing; then episodes cut short count as over."""
    value_learning_rate: Schedule = 1e-3
    """Adam's step size for the baseline: a number, or linear(start, end) over the run."""
    value_epochs: Annotated[int, Gt(0)] = 5
    """Passes of the baseline over the episodes of each update; the policy makes one step."""
    batch_size: Annotated[int, Gt(0)] = 256
    """Windows in a minibatch of the baseline; without a memory a window is one step."""
    normalize_advantage: bool = True
    """Shift and scale the advantages of each update to mean 0 and deviation 1."""
    normalize_reward: bool = False
    """Divide rewards by the running deviation of the discounted return."""
    entropy_coefficient: Schedule = 0.0
    """Weight of the entropy bonus: a number, or linear(start, end) over the run."""
    max_grad_norm: Annotated[float, Gt(0)] | None = 0.5
    """Longer gradients are scaled down to this length."""
    log_std: float = 0.0
    """Box actions: initial log standard deviation, in units of half the action range."""
    squash: bool = False
    """Box actions: keep them inside their bounds by a tanh."""

    def __post_init__(self) -> None:
        check_schedules(self, "learning_rate", "value_learning_rate", "entropy_coefficient")

    def planned_updates(self, total_steps: int, num_envs: int) -> int:
        """Optimiser steps of a whole run."""
        fits = (
            self.value_epochs * -(-self.steps_per_update // self.batch_size)
            if self.baseline == "value"
            else 0
        )
        return total_steps // self.steps_per_update * (1 + fits)

    def obstacle(self, total_steps: int, num_envs: int) -> Obstacle | None:
        """What keeps a run from learning anything, as far as it does not depend on the lengths of episodes."""
        last = -(-total_steps // num_envs) * num_envs
        for option in ("steps_per_update", "episodes_per_update"):
            if (needed := getattr(self, option)) > last:
                return Obstacle(option, last, needed)
        return None


class REINFORCEBatch(NamedTuple):
    """Windows `[L, N, ...]`, tensors: columns of whole episodes, or single steps."""

    obs: Any
    first: Tensor
    action: Tensor
    advantage: Tensor
    returns: Tensor
    valid: Tensor


class REINFORCE(Agent):
    """Play whole episodes, then make each action more likely the better things went after it.

    Every step of every episode is learned from once. An episode that is under way when the policy changes waits
    until it is finished, like any other: to drop it would favour short episodes. Its first steps were then
    chosen by a policy one or a few updates older than the one they improve; where that matters, update less often.

    Policy and baseline have a torso each: the baseline can then take as many steps as it needs without moving
    the policy.
    """

    Config = REINFORCEConfig
    takes = SAMPLED

    def __init__(
        self,
        config: REINFORCEConfig,
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
        self.torso, self.value_torso = make_torso(), make_torso()
        self.head = policy_head(
            self.torso.size,
            action_space,
            mask_space=self.torso.mask_space,
            log_std=config.log_std,
            squash=config.squash,
        )
        self.value_head = value_head(self.value_torso.size)
        self.policy = nn.ModuleDict({"torso": self.torso, "head": self.head}).to(device)
        self.baseline = nn.ModuleDict({"torso": self.value_torso, "head": self.value_head}).to(device)
        # With a memory every update has another length, and each would be compiled anew.
        self.compile = compile and not self.torso.has_memory
        self.optimizer, self.value_optimizer = (
            FlatAdam(modules, epsilon=1e-5, max_grad_norm=config.max_grad_norm, compile=self.compile)
            for modules in (self.policy, self.baseline)
        )
        self.forward = make_step(self.torso, self.head.layer, device)
        self.reward_scaler = RewardScaler(config.gamma)
        self.normalizers = Normalizers([self.torso, self.value_torso], device)
        self.episodes = EpisodeBuffer()
        self.steps = Counter(total_steps)
        self.act_generator = named_generator(seed, "reinforce/act")
        self.shuffle_generator = named_generator(seed, "reinforce/shuffle")

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

    def learn(self, transition: Transition) -> Metrics:
        """Add a step to the episodes under way; update when enough of them have finished."""
        self.episodes.add(transition._replace(action=self.head.stored(transition.action)))
        self.steps.add(transition.num_steps)
        steps, count = self.episodes.steps, self.episodes.count
        if steps < self.config.steps_per_update or count < self.config.episodes_per_update:
            return {}
        metrics = self.update(self.episodes.finished())
        self.episodes.drop_finished()
        return metrics

    def update(self, episodes: Sequence) -> Metrics:
        """Take one step up the policy gradient, then fit the baseline to the returns."""
        config, progress = self.config, self.steps.progress
        self.normalizers.update(episodes.obs, episodes.valid)
        value, reward = self._values(episodes), episodes.reward * episodes.valid
        if config.normalize_reward:
            arrays = (reward, episodes.terminated | episodes.truncated, episodes.valid)
            reward = self.reward_scaler(*map(torch.from_numpy, arrays)).numpy()
        # The row after a truncated step is its true successor.
        next_value = np.roll(value, -1, axis=0)
        returns = rewards_to_go(reward, next_value, episodes.terminated, episodes.truncated, config.gamma)
        advantage = returns - value
        if config.normalize_advantage:
            advantage = standardized(advantage, returns, episodes.valid)

        batch = self._windows(episodes, advantage, returns)
        learning_rate = scheduled(config.learning_rate, progress)
        entropy_coefficient = torch.tensor(
            scheduled(config.entropy_coefficient, progress), device=self.device
        )
        metrics: Metrics = {
            **self.optimizer.step(self.policy_loss, (batch, entropy_coefficient), learning_rate),
            "policy/learning_rate": learning_rate,
        }
        if config.baseline == "value":
            value_learning_rate = scheduled(config.value_learning_rate, progress)
            steps = [
                self.value_optimizer.step(self.value_loss, (minibatch,), value_learning_rate)
                for minibatch in self._minibatches(batch)
            ]
            metrics["loss/value"] = mean_metrics(steps)["loss/value"]
        return metrics

    def policy_loss(
        self, batch: REINFORCEBatch, entropy_coefficient: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`-mean(log pi(action | obs) advantage)` over windows: its gradient is the policy gradient."""
        obs, first, valid = batch.obs, batch.first, batch.valid
        features, _ = self.torso(obs, self.torso.initial_state(first.shape[1]), first)
        policy = self.head(features, self.head.allowed(obs))
        loss = -masked_mean(policy.log_prob(batch.action) * batch.advantage, valid)
        entropy = masked_mean(policy.entropy(), valid)
        metrics = {"loss/policy": loss, "policy/entropy": entropy}
        return loss - entropy_coefficient * entropy, metrics

    def value_loss(self, batch: REINFORCEBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the baseline over windows."""
        value = self._value(batch.obs, batch.first)
        loss = masked_mean((value - batch.returns).square(), batch.valid)
        return loss, {"loss/value": loss}

    def _value(self, obs: Any, first: Tensor) -> Tensor:
        """Baseline `[T, B]` of observations `[T, B, ...]`; columns begin with an episode."""
        features, _ = self.value_torso(obs, self.value_torso.initial_state(first.shape[1]), first)
        return self.value_head(features).squeeze(-1)

    @torch.no_grad()
    def _values(self, episodes: Sequence) -> np.ndarray:
        """Baseline `[T, B]` of all rows, the successors of truncated steps among them; zero without one."""
        if self.config.baseline == "none":
            return np.zeros_like(episodes.reward)
        return self._value(*to_tensors((episodes.obs, episodes.first), self.device)).cpu().numpy()

    def _windows(self, episodes: Sequence, advantage: np.ndarray, returns: np.ndarray) -> REINFORCEBatch:
        """What is to be learned: with a memory columns of whole episodes, without one every step by itself."""
        arrays = (episodes.obs, episodes.first, episodes.action, advantage, returns)
        if self.torso.has_memory:
            return REINFORCEBatch(*to_tensors((*arrays, episodes.valid), self.device))
        steps = np.flatnonzero(episodes.valid)
        # A compiled step wants few different lengths: pad with repetitions that do not count.
        multiple = self.config.batch_size if self.compile else 1
        index = np.resize(steps, -(-len(steps) // multiple) * multiple)
        chosen = tree_map(lambda x: x.reshape(-1, *x.shape[2:])[index][None], arrays)
        valid = np.arange(len(index))[None] < len(steps)
        return REINFORCEBatch(*to_tensors((*chosen, valid), self.device))

    def _minibatches(self, batch: REINFORCEBatch) -> Iterator[REINFORCEBatch]:
        """Yield every window once an epoch, in new random minibatches."""
        num_windows, size = batch.valid.shape[1], self.config.batch_size
        for _ in range(self.config.value_epochs):
            order = to_tensor(self.shuffle_generator.permutation(num_windows), self.device)
            for chosen in order.split(size):
                parts = tree_map(lambda x, chosen=chosen: x.index_select(1, chosen), tuple(batch))
                yield REINFORCEBatch(*parts)

    def stores(self, step_bytes: int, num_envs: int, frames: int = 1) -> list[Store]:
        """Episodes that wait for an update, with reward and four flags: so many steps at least."""
        steps = self.config.steps_per_update
        return [Store("steps_per_update", steps, steps * (step_bytes + 8), at_once=steps)]

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Everything that a checkpoint must hold."""
        return {
            "policy": self.policy,
            "baseline": self.baseline,
            "optimizer": self.optimizer,
            "value_optimizer": self.value_optimizer,
            "reward_scaler": self.reward_scaler,
            "episodes": self.episodes,
            "steps": self.steps,
            "act_generator": self.act_generator,
            "shuffle_generator": self.shuffle_generator,
        }


def standardized(advantage: np.ndarray, returns: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """`(A - mean(A)) / max(std(A), 0.01 rms(G))` over valid steps of `[T, B]` advantages A and returns G.

    When all episodes go equally well, what differs is the baseline's noise; the floor keeps it from being blown
    up to full size, which would undo a policy that has nothing left to learn.
    """
    steps = advantage[valid]
    # Unbiased, as in PPO; one lone step has no deviation.
    deviation = steps.std(ddof=1) if len(steps) > 1 else 0.0
    scale = max(deviation, 0.01 * np.sqrt(np.square(returns[valid]).mean()), 1e-8)
    return ((advantage - steps.mean()) / scale).astype(np.float32)
