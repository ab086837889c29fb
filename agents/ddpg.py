"""Deep deterministic policy gradient (Lillicrap et al. 2016, arXiv:1509.02971), and TD3's repairs as options.

TD3 (Fujimoto et al. 2018, arXiv:1802.09477) is `twin_critics`, `policy_delay` and `target_smoothing` at once:
against an actor that exploits what its critic overestimates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from gymnasium import spaces
from torch import Tensor

from ..networks.action_spaces import BOUNDED
from ..networks.layers import Activation
from ..networks.means import masked_mean
from ..networks.optimizer import FlatAdam, make_target
from ..networks.q_value import ActionBounds, Actor, Critic
from ..networks.stateful import Stateful
from ..networks.torso import Torso
from .agent import Agent, Counter, Metrics, Transition, mean_metrics, named_generator
from .noise import NoiseName, make_noise
from .schedules import Obstacle, Schedule, check_schedules, replay_obstacle, scheduled
from .storage.hindsight import GoalRule, goal_sampler
from .storage.replay import Replay
from .storage.replay_batches import TransitionBatch, WindowBatch, sample_windows
from .storage.sequences import to_tensors
from .torsos import Normalizers, initial_state, make_joint_step

# Whose memory is whose in the state, where there is one.
ACTOR, CRITIC = 0, 1


@dataclass(frozen=True)
class DDPGConfig:
    """Deep deterministic policy gradient; all steps are environment steps, summed over environments."""

    learning_rate: Schedule = 1e-3
    """Adam's step size, for actor and critic: a number, or linear(start, end) over the run."""
    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.99
    """Discount of the future, per step."""
    replay_capacity: Annotated[int, Gt(0)] = 1_000_000
    """Steps that the replay memory holds."""
    batch_size: Annotated[int, Gt(0)] = 256
    """Steps in a gradient step; with a memory, as many whole windows as they fill."""
    sequence_length: Annotated[int, Gt(0)] = 16
    """With a memory: steps of a window, which begins with the memory that was stored beside it."""
    burn_in: Annotated[int, Ge(0)] = 8
    """With a memory: steps before a window that bring the stored memory up to date; gradients reach back through
    them."""
    learning_starts: Annotated[int, Ge(0)] = 1000
    """Steps of uniformly random actions before learning."""
    train_every: Annotated[int, Gt(0)] = 1
    """Steps between updates."""
    gradient_steps: Annotated[int, Ge(-1)] = 1
    """Gradient steps in an update; -1: as many as environment steps."""
    tau: Annotated[float, Interval(gt=0, le=1)] = 0.005
    """How far the target networks move towards the networks after each update of the actor."""
    noise: NoiseName = "gaussian"
    """What is added to actions to explore: gaussian is new at every step, ornstein-uhlenbeck persists."""
    noise_std: Schedule = 0.1
    """Its scale, in units of half the action range: a number, or linear(start, end) over the run."""
    actor_hidden: tuple[Annotated[int, Gt(0)], ...] = (400, 300)
    """Widths of the actor's hidden layers, behind the encoder."""
    critic_hidden: tuple[Annotated[int, Gt(0)], ...] = (400, 300)
    """Widths of the critic's hidden layers, which see the encoder's features and the action."""
    activation: Activation = "relu"
    """Non-linearity after each of them."""
    max_grad_norm: Annotated[float, Gt(0)] | None = None
    """Longer gradients are scaled down to this length; off by default."""
    n_step: Annotated[int, Gt(0)] = 1
    """Rewards that a target sums up before it trusts the target critic."""
    hindsight: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Goal environments: share of sampled steps whose goal becomes one achieved later in the episode (0.8)."""
    twin_critics: bool = False
    """TD3: learn two critics and believe the lower one."""
    policy_delay: Annotated[int, Gt(0)] = 1
    """TD3: updates of the critics for each one of the actor and the targets (2)."""
    target_smoothing: Annotated[float, Ge(0)] = 0.0
    """TD3: deviation of the noise on the next action in targets, in units of half the action range (0.2)."""
    target_smoothing_clip: Annotated[float, Ge(0)] = 0.5
    """TD3: largest such noise."""

    def __post_init__(self) -> None:
        check_schedules(self, "learning_rate", "noise_std")
        if self.gradient_steps == 0:
            raise ValueError("gradient_steps: must be positive, or -1 for one each environment step; got 0")

    def planned_updates(self, total_steps: int, num_envs: int) -> int:
        """Optimiser steps of a whole run."""
        updates = max(0, total_steps - self.learning_starts) // self.train_every * self.steps_per_update
        return updates + updates // self.policy_delay

    def obstacle(self, total_steps: int, num_envs: int) -> Obstacle | None:
        """What keeps a run from learning anything, the actor included."""
        if found := replay_obstacle(self.learning_starts, self.train_every, total_steps, num_envs):
            return found
        warm_up = self.learning_starts // num_envs * num_envs // self.train_every
        last = -(-total_steps // num_envs) * num_envs
        updates = (last // self.train_every - warm_up) * self.steps_per_update
        if updates >= self.policy_delay:
            return None
        needed = (warm_up - (-self.policy_delay // self.steps_per_update)) * self.train_every
        return Obstacle("policy_delay", updates, needed)

    @property
    def steps_per_update(self) -> int:
        """Gradient steps in an update."""
        return self.train_every if self.gradient_steps == -1 else self.gradient_steps


class DDPG(Agent):
    """Learn the value of actions from a replay memory, and a deterministic policy that climbs it.

    Actor and critic are perceptrons of the agent's own, each behind a torso of its own: the critic's hidden
    layers must see the action too, which a torso cannot. So where observations are vectors, the torso has no
    hidden layers and passes them on; images take a real encoder.
    """

    Config = DDPGConfig
    takes = BOUNDED
    encoder_defaults: ClassVar[dict[str, dict[str, Any]]] = {"mlp": {"hidden": []}}

    def __init__(
        self,
        config: DDPGConfig,
        action_space: spaces.Space,
        make_torso: Callable[[], Torso],
        *,
        seed: int,
        total_steps: int,
        device: torch.device,
        compile: bool = False,
        goal_rule: GoalRule | None = None,
    ):
        self.config = config
        self.device = device
        self.bounds = ActionBounds(action_space)
        self.torso, critic_torso = make_torso(), make_torso()
        self.actor = Actor(self.torso, self.bounds.size, config.actor_hidden, config.activation).to(device)
        self.critic = Critic(
            critic_torso,
            self.bounds.size,
            config.critic_hidden,
            config.activation,
            count=2 if config.twin_critics else 1,
        ).to(device)
        self.target_actor, self.target_actor_vector = make_target(self.actor)
        self.target_critic, self.target_critic_vector = make_target(self.critic)
        # With a memory every batch has another shape, and each would be compiled anew.
        compile = compile and not self.torso.has_memory
        self.actor_optimizer = FlatAdam(self.actor, max_grad_norm=config.max_grad_norm, compile=compile)
        self.critic_optimizer = FlatAdam(self.critic, max_grad_norm=config.max_grad_norm, compile=compile)
        self.torsos = [self.torso, critic_torso]
        self.forward = make_joint_step(self.torsos, self.actor.head, device)
        self.normalizers = Normalizers(self.torsos, device)
        self.replay = Replay(
            config.replay_capacity,
            n_step=config.n_step,
            gamma=config.gamma,
            state_size=self.torso.replayed_size + critic_torso.replayed_size,
        )
        self.sample_steps = goal_sampler(self.replay, config.hindsight, goal_rule, self.torso.has_memory)
        self.steps = Counter(total_steps)
        self.updates = Counter(total_steps)
        self.act_generator = named_generator(seed, "ddpg/act")
        self.sample_generator = named_generator(seed, "ddpg/sample")
        self.smoothing_generator = named_generator(seed, "ddpg/smoothing")
        self.noise = make_noise(config.noise, self.act_generator)

    def initial_state(self, num_envs: int) -> np.ndarray:
        """Memories of actor and critic `[num_envs, S]` before any observation."""
        return initial_state(self.torsos, num_envs)

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the actor's actions, with noise on them; or uniformly random ones during warm-up."""
        warming_up = explore and self.steps.count < self.config.learning_starts
        if warming_up and not self.torso.has_memory:
            action = self.act_generator.uniform(-1, 1, (len(first), self.bounds.size))
            return self.bounds.unscale(action), state
        action, next_state = self.forward(obs, state, first)
        if warming_up:
            action = self.act_generator.uniform(-1, 1, action.shape)
        elif explore:
            std = scheduled(self.config.noise_std, self.steps.progress)
            action = np.clip(action + self.noise.sample(std, self.bounds.size, first), -1, 1)
        return self.bounds.unscale(action), next_state

    def learn(self, transition: Transition) -> Metrics:
        """Add a step to the replay; update when it is time."""
        config = self.config
        self.replay.add(transition._replace(action=self.bounds.scale(transition.action)))
        self.steps.add(transition.num_steps)
        self.normalizers.update(transition.obs, transition.valid)
        updates = self.steps.passed(config.train_every)
        if not updates or self.steps.count <= config.learning_starts or not len(self.replay):
            return {}
        return self.update(updates * config.steps_per_update)

    def update(self, gradient_steps: int) -> Metrics:
        """Improve the critics on new samples; every `policy_delay` times also the actor and the targets."""
        config = self.config
        learning_rate = scheduled(config.learning_rate, self.steps.progress)
        steps: list[dict[str, Tensor]] = []
        for _ in range(gradient_steps):
            batch = self.sample()
            metrics = self.critic_optimizer.step(self.critic_loss, (batch,), learning_rate)
            metrics["value/gradient_norm"] = metrics.pop("gradient_norm")
            self.updates.add(1)
            if self.updates.count % config.policy_delay == 0:
                metrics |= self.actor_optimizer.step(self.actor_loss, (batch,), learning_rate)
                metrics["policy/gradient_norm"] = metrics.pop("gradient_norm")
                self.target_actor_vector.lerp_(self.actor_optimizer.vector, config.tau)
                self.target_critic_vector.lerp_(self.critic_optimizer.vector, config.tau)
            steps.append(metrics)
        return mean_metrics(steps) | {"policy/learning_rate": learning_rate}

    def critic_loss(self, batch: TransitionBatch | WindowBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared temporal-difference errors of all critics; smoothing takes noise `[N, D]`."""
        target_actor, target_critic, critic = self.target_actor, self.target_critic, self.critic
        with torch.no_grad():
            next_action = target_actor.head(batch.next_features(target_actor.torso, ACTOR))
            if batch.noise is not None:
                next_action = self.smoothed(next_action, batch.noise)
            next_value = target_critic.head(batch.next_features(target_critic.torso, CRITIC), next_action)
            target = batch.reward + batch.discount * next_value.amin(0)
        value = critic.head(batch.features(critic.torso, CRITIC), batch.action)
        loss = masked_mean((value - target).square().sum(0), batch.weights)
        return loss, {"loss/value": loss, "value/mean": masked_mean(value.mean(0), batch.weights)}

    def smoothed(self, action: Tensor, noise: Tensor) -> Tensor:
        """Target actions `[N, D]` with clipped noise on them."""
        limit = self.config.target_smoothing_clip
        return (action + (noise * self.config.target_smoothing).clamp(-limit, limit)).clamp(-1, 1)

    def actor_loss(self, batch: TransitionBatch | WindowBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the mean value of the actor's actions by the first critic, of which nothing gets a gradient."""
        action = self.actor.head(batch.features(self.torso, ACTOR))
        with torch.no_grad():
            features = batch.features(self.critic.torso, CRITIC)
        loss = -masked_mean(self.critic.head.first(features, action), batch.weights)
        return loss, {"loss/policy": loss}

    def sample(self) -> TransitionBatch | WindowBatch:
        """Draw transitions from the replay; with a memory, windows."""
        config, length, generator = self.config, self.config.sequence_length, self.sample_generator
        if self.torso.has_memory:
            number = max(1, config.batch_size // length)
            windows = sample_windows(self.replay, number, length, config.burn_in, generator)
            return windows.batch(self.torsos, self._smoothing(length * number), self.device)
        sample = self.sample_steps(config.batch_size, generator)
        arrays = (sample.obs, sample.action, sample.reward, sample.discount, sample.next_obs, sample.weights)
        noise = self._smoothing(config.batch_size)
        return TransitionBatch(*to_tensors(arrays if noise is None else (*arrays, noise), self.device))

    def _smoothing(self, count: int) -> np.ndarray | None:
        """Noise `[N, D]` for `smoothed`, if it is wanted."""
        if self.config.target_smoothing == 0:
            return None
        return self.smoothing_generator.standard_normal((count, self.bounds.size), dtype=np.float32)

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Everything that a checkpoint must hold."""
        return {
            "actor": self.actor,
            "critic": self.critic,
            "target_actor": self.target_actor,
            "target_critic": self.target_critic,
            "actor_optimizer": self.actor_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "replay": self.replay,
            "noise": self.noise,
            "steps": self.steps,
            "updates": self.updates,
            "act_generator": self.act_generator,
            "sample_generator": self.sample_generator,
            "smoothing_generator": self.smoothing_generator,
        }
