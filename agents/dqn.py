"""Deep Q-networks (Mnih et al. 2015) and what was added to them up to Rainbow (Hessel et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from gymnasium import spaces
from torch import Tensor, nn

from ..networks.action_spaces import VALUED
from ..networks.layers import Activation
from ..networks.masks import best_action
from ..networks.means import masked_mean
from ..networks.optimizer import FlatAdam, make_target
from ..networks.q_heads import (
    JointActions,
    QHead,
    QNetwork,
    categorical_projection,
    draw_noise,
    of_action,
    quantile_huber_loss,
)
from ..networks.stateful import Stateful
from ..networks.torso import Torso, pick
from ..networks.tree import tree_map
from .agent import Agent, Counter, Metrics, Transition, mean_metrics, named_generator
from .noise import with_random_rows
from .schedules import Obstacle, Schedule, check_schedules, replay_obstacle, scheduled
from .storage.hindsight import GoalRule, goal_sampler
from .storage.replay import Replay
from .storage.replay_batches import Sample, TransitionBatch, WindowBatch, sample_windows
from .storage.sequences import to_tensor, to_tensors
from .support import SupportCheck
from .torsos import Normalizers, initial_state, make_value_step

# Batches that are sampled in one go when many gradient steps follow each other.
BATCHES_AT_ONCE = 32


@dataclass(frozen=True)
class DQNConfig:
    """Deep Q-network; all steps are environment steps, summed over environments."""

    learning_rate: Schedule = 5e-4
    """Adam's step size: a number, or linear(start, end) over the run."""
    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.99
    """Discount of the future, per step."""
    replay_capacity: Annotated[int, Gt(0)] = 100_000
    """Steps that the replay memory holds."""
    batch_size: Annotated[int, Gt(0)] = 64
    """Steps in a gradient step; with a memory, as many whole windows as they fill."""
    sequence_length: Annotated[int, Gt(0)] = 16
    """With a memory: steps of a window, which begins with the memory that was stored beside it."""
    burn_in: Annotated[int, Ge(0)] = 8
    """With a memory: steps before a window that bring the stored memory up to date; gradients reach back through
    them."""
    learning_starts: Annotated[int, Ge(0)] = 1000
    """Steps of uniformly random actions before learning."""
    train_every: Annotated[int, Gt(0)] = 4
    """Steps between updates."""
    gradient_steps: Annotated[int, Ge(-1)] = 1
    """Gradient steps in an update; -1: as many as environment steps."""
    target_every: Annotated[int, Gt(0)] = 500
    """Steps between updates of the target network."""
    tau: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """How far an update moves the target network: 1 copies the network, less averages over its past."""
    epsilon: Schedule = "linear(1.0, 0.05, 0.16)"
    """Share of uniformly random actions: a number, or linear(start, end, fraction of the run)."""
    max_grad_norm: Annotated[float, Gt(0)] | None = 10.0
    """Longer gradients are scaled down to this length."""
    double: bool = True
    """The network chooses the next action, the target network only values it (van Hasselt et al. 2016)."""
    dueling: bool = False
    """Value state and advantages of actions in streams of their own (Wang et al. 2016)."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = ()
    """Widths of hidden layers behind the encoder: of both streams when dueling, noisy when noisy."""
    activation: Activation = "relu"
    """Non-linearity after each of them."""
    layer_norm: bool = False
    """Normalise before each of them: values then cannot run away (Gallici et al. 2024)."""
    noisy: bool = False
    """Explore by learned noise on the layers behind the encoder (Fortunato et al. 2018); set epsilon to 0."""
    n_step: Annotated[int, Gt(0)] = 1
    """Rewards that a target sums up before it trusts the target network."""
    hindsight: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Goal environments: share of sampled steps whose goal becomes one achieved later in the episode (0.8)."""
    prioritized: bool = False
    """Replay steps with large errors more often (Schaul et al. 2016)."""
    priority_exponent: Annotated[float, Interval(ge=0, le=1)] = 0.6
    """Prioritised: 0 samples uniformly, 1 in proportion to the error."""
    priority_beta: Schedule = "linear(0.4, 1.0)"
    """Prioritised: how far importance weights undo the priorities."""
    distribution: Literal["none", "c51", "quantile"] = "none"
    """Learn how returns are distributed: c51 (Bellemare et al. 2017) or quantile (Dabney et al. 2018)."""
    atoms: Annotated[int, Gt(1)] = 51
    """Values or quantiles of the distribution."""
    value_min: float = -10.0
    """C51: smallest return that the distribution can express."""
    value_max: float = 10.0
    """C51: largest return that the distribution can express."""

    def __post_init__(self) -> None:
        check_schedules(self, "learning_rate")
        check_schedules(self, "epsilon", "priority_beta", maximum=1)
        if not self.value_min < self.value_max:
            raise ValueError(f"value_min: must be below value_max, got {self.value_min} and {self.value_max}")
        if self.gradient_steps == 0:
            raise ValueError("gradient_steps: must be at least 1, or -1 for one an environment step, got 0")

    def planned_updates(self, total_steps: int, num_envs: int) -> int:
        """Optimiser steps of a whole run."""
        return max(0, total_steps - self.learning_starts) // self.train_every * self.steps_per_update

    def obstacle(self, total_steps: int, num_envs: int) -> Obstacle | None:
        """What keeps a run from learning anything."""
        return replay_obstacle(self.learning_starts, self.train_every, total_steps, num_envs)

    @property
    def steps_per_update(self) -> int:
        """Gradient steps in an update."""
        return self.train_every if self.gradient_steps == -1 else self.gradient_steps


class DQN(Agent):
    """Learn the value of every action by temporal differences from a replay memory; take the best action."""

    Config = DQNConfig
    takes = VALUED

    def __init__(
        self,
        config: DQNConfig,
        action_space: spaces.Space,
        make_torso: Callable[[], Torso],
        *,
        seed: int,
        total_steps: int,
        device: torch.device,
        compile: bool = False,
        goal_rule: GoalRule | None = None,
    ):
        self.config, self.device = config, device
        torso = make_torso()
        self.actions = JointActions(action_space, torso.mask_space)
        support = torch.linspace(config.value_min, config.value_max, config.atoms)
        head = QHead(
            torso.size,
            self.actions.count,
            atoms=1 if config.distribution == "none" else config.atoms,
            support=support if config.distribution == "c51" else None,
            hidden=config.hidden,
            activation=config.activation,
            dueling=config.dueling,
            noisy=config.noisy,
            layer_norm=config.layer_norm,
        )
        self.network, self.has_memory = QNetwork(torso, head).to(device), torso.has_memory
        # With a memory every batch has another shape, and each would be compiled anew.
        compile = compile and not self.has_memory
        self.optimizer = FlatAdam(self.network, max_grad_norm=config.max_grad_norm, compile=compile)
        self.target, self.target_vector = make_target(self.network)
        self.values = make_value_step(self.network, device)
        self.normalizers = Normalizers([torso], device)
        self.noise_size = head.noise_size
        self.no_noise = np.zeros(head.noise_size, np.float32)
        self.replay = Replay(
            config.replay_capacity,
            n_step=config.n_step,
            gamma=config.gamma,
            prioritized=config.priority_exponent if config.prioritized else None,
            state_size=torso.replayed_size,
        )
        silence = config.learning_starts if head.support is not None else None
        self.support_check = SupportCheck(config.value_min, config.value_max, config.gamma, silence)
        self.sample_steps = goal_sampler(self.replay, config.hindsight, goal_rule, torso.has_memory)
        self.steps = Counter(total_steps)
        self.act_generator = named_generator(seed, "dqn/act")
        self.sample_generator = named_generator(seed, "dqn/sample")
        self.noise_generator = named_generator(seed, "dqn/noise")

    def initial_state(self, num_envs: int) -> np.ndarray:
        """The torso's memory `[num_envs, S]` before any observation."""
        return initial_state([self.network.torso], num_envs)

    @property
    def epsilon(self) -> float:
        """Share of random actions now."""
        warm = self.steps.count >= self.config.learning_starts
        return scheduled(self.config.epsilon, self.steps.progress) if warm else 1.0

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[Any, np.ndarray]:
        """Take the actions of the highest value, or random ones with probability epsilon."""
        random, noise = np.zeros(len(first), bool), self.no_noise
        if explore:
            noise = draw_noise((self.noise_size,), self.act_generator)
            random = self.act_generator.random(len(first)) < self.epsilon
        if self.has_memory or np.count_nonzero(random) < len(random):
            values, state = self.values(obs, state, first, noise)
        else:
            # Nobody asks for values. Of pictures they would take most of the time of a warm-up.
            values = np.zeros((len(first), self.actions.count), np.float32)
        values = with_random_rows(values, random, self.act_generator)
        return self.actions.action(best_action(values, self.actions.allowed(obs))), state

    def learn(self, transition: Transition) -> Metrics:
        """Add a step to the replay; update target and network when it is time."""
        config = self.config
        self.replay.add(transition._replace(action=self.actions.index(transition.action)))
        self.support_check.add(transition)
        self.steps.add(transition.num_steps)
        self.normalizers.update(transition.obs, transition.valid)
        if moves := self.steps.passed(config.target_every):
            self.target_vector.lerp_(self.optimizer.vector, 1 - (1 - config.tau) ** moves)
        updates = self.steps.passed(config.train_every)
        if updates and self.steps.count > config.learning_starts and len(self.replay):
            return self.update(updates * config.steps_per_update)
        return {}

    def update(self, gradient_steps: int) -> Metrics:
        """Fit the values to their targets on new samples of the replay."""
        config, progress = self.config, self.steps.progress
        learning_rate, beta = (scheduled(x, progress) for x in (config.learning_rate, config.priority_beta))
        loss = self.window_loss if self.has_memory else self.loss
        samples = self._windows if self.has_memory else self._transitions
        steps: list[dict[str, Tensor]] = []
        for batch, indices, counted in samples(gradient_steps, beta):
            steps.append(self.optimizer.step(loss, (batch,), learning_rate))
            priority = steps[-1].pop("priority")
            if config.prioritized:
                self.replay.update_priorities(indices[counted], priority.cpu().numpy()[counted] + 1e-6)
        return mean_metrics(steps) | {"policy/epsilon": self.epsilon, "policy/learning_rate": learning_rate}

    def loss(self, batch: TransitionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of transitions, with noise `[2, P]` for the network and its target."""
        obs, next_obs, noise = batch.obs, batch.next_obs, batch.noise
        outputs = self.network(obs, noise[0])
        with torch.no_grad():
            next_outputs = self.target(next_obs, noise[1])
            choosing = self.network(next_obs, noise[0]) if self.config.double else next_outputs
        mask = self.actions.allowed(next_obs)
        return self.temporal_difference(batch, outputs, choosing, next_outputs, mask)

    def window_loss(self, batch: WindowBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The same of windows, which are unrolled once for the steps and their successors."""
        obs, (state,), first, noise = batch.obs, batch.states, batch.first, batch.noise
        outputs = self.network.unroll(obs, state, first, noise[0])
        with torch.no_grad():
            next_outputs = self.target.unroll(obs, state, first, noise[1])
        choosing = outputs.detach() if self.config.double else next_outputs
        mask = self.actions.allowed(obs)
        if mask is not None:
            mask = pick(mask, batch.bootstrap_rows).flatten(0, 1)
        return self.temporal_difference(
            batch,
            pick(outputs, batch.learn_rows).flatten(0, 1),
            pick(choosing, batch.bootstrap_rows).flatten(0, 1),
            pick(next_outputs, batch.bootstrap_rows).flatten(0, 1),
            mask,
        )

    def temporal_difference(
        self,
        batch: TransitionBatch | WindowBatch,
        outputs: Tensor,
        choosing: Tensor,
        next_outputs: Tensor,
        next_mask: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """How far `outputs [N, A, K]` are from their targets; the outputs `choosing` choose the next action.

        Rows of weight 0 do not count.
        """
        config, head = self.config, self.network.head
        reward, discount, weights = batch.reward, batch.discount, batch.weights
        chosen = of_action(outputs, batch.action)
        with torch.no_grad():
            best = best_action(head.values(choosing), next_mask)
            next_chosen = of_action(next_outputs, best)
            target = reward[:, None] + discount[:, None] * next_chosen
            if head.support is not None:
                target = categorical_projection(next_chosen.softmax(-1), reward, discount, head.support)

        if config.distribution == "c51":
            # The Kullback-Leibler divergence from the target.
            error = (torch.xlogy(target, target) - target * chosen.log_softmax(-1)).sum(-1)
            # The target sums to 1 up to rounding, so what has been learned exactly comes out below 0.
            priority = error.clamp(min=0)
        elif config.distribution == "quantile":
            error = quantile_huber_loss(chosen, target)
            priority = error
        else:
            error = nn.functional.smooth_l1_loss(chosen, target, reduction="none").squeeze(-1)
            priority = (chosen - target).abs().squeeze(-1)
        counts = weights > 0
        loss = (weights * error).sum() / counts.sum()
        value = masked_mean(head.values(chosen), counts)
        return loss, {"loss/q": loss, "value/mean": value, "priority": priority}

    def _transitions(self, count: int, beta: float) -> Iterator[Sample]:
        """Yield `count` samples of single steps."""
        size = self.config.batch_size
        # Priorities change with every gradient step, so each needs a sample of its own.
        at_once = 1 if self.config.prioritized else BATCHES_AT_ONCE
        for start in range(0, count, at_once):
            number = min(at_once, count - start)
            sample = self.sample_steps(number * size, self.sample_generator, beta)
            noise = draw_noise((number, 2, self.noise_size), self.noise_generator)
            obs, action, reward, discount, next_obs, indices, weights = sample
            data = (obs, action, reward, discount, next_obs, weights)
            if self.device.type != "cpu":
                # One transfer to the device for all of them; slices of arrays cost less than slices of tensors.
                data = to_tensors(data, self.device)
            for index in range(number):
                rows = slice(index * size, (index + 1) * size)
                parts = tree_map(lambda x, rows=rows: to_tensor(x[rows], self.device), data)
                batch = TransitionBatch(*parts)._replace(noise=to_tensor(noise[index], self.device))
                yield Sample(batch, indices[rows], slice(None))

    def _windows(self, count: int, beta: float) -> Iterator[Sample]:
        """Yield `count` samples of windows."""
        config, length = self.config, self.config.sequence_length
        number = max(1, config.batch_size // length)
        for _ in range(count):
            windows = sample_windows(self.replay, number, length, config.burn_in, self.sample_generator, beta)
            noise = draw_noise((2, self.noise_size), self.noise_generator)
            batch = windows.batch([self.network.torso], noise, self.device)
            yield Sample(batch, windows.indices.ravel(), windows.weights.ravel() > 0)

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Everything that a checkpoint must hold."""
        return {
            "network": self.network,
            "target": self.target,
            "optimizer": self.optimizer,
            "replay": self.replay,
            "steps": self.steps,
            "act_generator": self.act_generator,
            "sample_generator": self.sample_generator,
            "noise_generator": self.noise_generator,
        }
