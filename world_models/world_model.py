"""A world model: an observation model, dynamics of its latents, and prediction heads for reward and termination.

Three parts that know nothing of each other, so that every observation model works with all dynamics, and any agent in
the dreams. Shapes are time-major, memory is a value, as everywhere in this library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from ..networks.means import masked_mean
from .actions import ActionEncoder
from .datasets import EpisodeDataset
from .old_keys import accept_old_key
from .prediction_heads import PredictionHeads, PredictionHeadsConfig
from .scales import divisor


class SequenceBatch(NamedTuple):
    """Sequences of steps of real episodes to learn from, `[T, B, ...]`, none across an episode's end."""

    latent: Tensor
    action: Tensor
    """As the environment takes it."""
    reward: Tensor
    next_latent: Tensor
    terminated: Tensor
    end_known: Tensor
    """False where an episode was only cut off: whether it would have ended there is not known."""
    mask: Tensor
    """False after the end of an episode, where a sequence is padded."""


@dataclass(frozen=True)
class Sampling:
    """How a step is drawn from what a model predicts."""

    generator: torch.Generator | None = None
    """Without one the step is the expected one."""
    temperature: float = 1.0
    """Variances times this, logits of choices divided by it."""
    member: Tensor | None = None
    """Which member of an ensemble predicts, `[N]`; drawn anew at every step when None."""
    disagreement: bool = True
    """Whether it is computed; without, an ensemble costs no more than one of its members."""


class DynamicsPrediction(NamedTuple):
    """A step as the dynamics predict it."""

    latent: Tensor
    """The next one, `[N, Z]`."""
    state: Tensor
    """Memory after the step, `[N, S]`."""
    features: Tensor
    """Features of the memory for the heads, `[N, F]`."""
    disagreement: Tensor
    """Deviation among an ensemble's members `[N]`, in units of a typical step; 0 where there is only one."""


class Prediction(NamedTuple):
    """A step as a world model predicts it."""

    latent: Tensor
    """The next one, `[N, Z]`."""
    state: Tensor
    """Memory after the step, `[N, S]`."""
    reward: Tensor
    """`[N]`, in the environment's units."""
    end_logit: Tensor
    """Log odds that the episode has terminated, `[N]`."""
    disagreement: Tensor
    """Deviation among the members of an ensemble, `[N]`; 1 is exceeded by 5 % of real steps."""


class ObservationModel(nn.Module, ABC):
    """Observations to latents and back. Concrete ones take `(observation space, config)`."""

    Config: ClassVar[type]
    latent_size: int
    learns: ClassVar[bool] = True
    scaler: nn.Module
    """Scales observations for networks, `scaler.inverse` scales back; `scaler.fit(obs)` measures vectors first."""

    @abstractmethod
    def encode(self, obs: Tensor) -> Tensor:
        """Latents `[N, Z]` of observations `[N, ...]`; without noise."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Observations `[N, ...]` as floats, in the environment's units and within its bounds."""

    @abstractmethod
    def loss(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of observations `[N, ...]`, in nats; noise comes from `generator`."""

    def take_labels(self, episodes: EpisodeDataset, seed: int) -> None:
        """Before a fit: take from the episodes what is learned from besides observations; for most, nothing."""
        return None

    def label_report(self, held_out: EpisodeDataset) -> dict[str, Any]:
        """How well labels of held-out frames are told, where any are."""
        return {}


class Dynamics(nn.Module, ABC):
    """Latent and action to the next latent. Concrete dynamics take `(latent size, action size, config)`.

    They learn and predict changes in units of a typical change, from latents in units of their deviation:
    `fit_scale` measures both. Actions come as vectors, `[..., A]`.
    """

    Config: ClassVar[type]
    sequence_length: int = 1
    """Steps of the sequences that it learns from."""
    choices: int = 1
    """Members of an ensemble that a dream may follow."""
    betas: tuple[float, float] = (0.9, 0.999)
    """How long Adam remembers gradients and their squares."""
    state_size: int = 0
    feature_size: int = 0
    center: Tensor
    deviation: Tensor
    change: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, latent_size: int, action_size: int):
        super().__init__()
        self.latent_size = latent_size
        self.action_size = action_size
        for name, value in (
            ("center", 0.0),
            ("deviation", 1.0),
            ("change", 1.0),
            ("low", -1e6),
            ("high", 1e6),
        ):
            self.register_buffer(name, torch.full((latent_size,), value))

    @torch.no_grad()
    def fit_scale(self, latent: Tensor, next_latent: Tensor) -> None:
        """Measure latents `[N, Z]` and their successors."""
        latents = torch.cat([latent, next_latent]).double()
        magnitude = latents.abs().amax(0)
        self.center.copy_(latents.mean(0))
        self.deviation.copy_(divisor(latents.std(0), magnitude))
        self.change.copy_(divisor((next_latent - latent).double().square().mean(0).sqrt(), magnitude))
        # A dream may leave the range of real latents, but not for infinity.
        low, high = latents.amin(0), latents.amax(0)
        self.low.copy_(low - (high - low))
        self.high.copy_(high + (high - low))

    def inputs(self, latent: Tensor, action: Tensor) -> Tensor:
        """Inputs of the networks for a step, `[..., Z + A]`."""
        return torch.cat([(latent - self.center) / self.deviation, action], -1)

    def target(self, latent: Tensor, next_latent: Tensor) -> Tensor:
        """The change of a step, in units of a typical one."""
        return (next_latent - latent) / self.change

    def advance(self, latent: Tensor, change: Tensor) -> Tensor:
        """Undo `target`, within twice the range of real latents."""
        return torch.maximum(torch.minimum(latent + change * self.change, self.high), self.low)

    def initial_state(self, count: int) -> Tensor:
        """Memory `[count, S]` before the first step."""
        return self.center.new_zeros(count, self.state_size)

    @abstractmethod
    def loss(
        self,
        latent: Tensor,
        action: Tensor,
        next_latent: Tensor,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, metrics, and features `[T, B, F]` for the heads, of sequences `[T, B, ...]` with memory from zero.

        Where something is drawn, `generator` draws it.
        """

    @abstractmethod
    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling) -> DynamicsPrediction:
        """Predict one step of N dreams."""

    def observe(self, latent: Tensor, action: Tensor, state: Tensor) -> Tensor:
        """Memory `[N, S]` after a real step whose successor is real, too."""
        return self.step(latent, action, state, Sampling()).state

    def choose_members(self, latent: Tensor, action: Tensor, next_latent: Tensor) -> None:
        """Keep the members of an ensemble that are best on held-out steps `[N, ...]`; nothing to do for one model."""
        return None


class WorldModel(nn.Module):
    """Observation model, dynamics and heads in one: all that a dream needs."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        observation_model: type[ObservationModel],
        dynamics: type[Dynamics],
        observation_model_config: Any = None,
        dynamics_config: Any = None,
        heads_config: PredictionHeadsConfig | None = None,
    ):
        super().__init__()
        self.observation_space = observation_space
        self.action_space = action_space
        self.actions = ActionEncoder(action_space)
        # Observation models and dynamics agree on their constructors by convention, as encoders and memories do.
        settings = observation_model_config or observation_model.Config()
        self.observation_model = observation_model(observation_space, settings)  # type: ignore[call-arg]
        size = self.observation_model.latent_size
        settings = dynamics_config or dynamics.Config()
        self.dynamics = dynamics(size, self.actions.size, settings)  # type: ignore[call-arg]
        inputs = 3 * size + self.actions.size + self.dynamics.feature_size
        self.heads = PredictionHeads(inputs, heads_config or PredictionHeadsConfig())
        self.register_buffer("typical_disagreement", torch.ones(()))
        accept_old_key(self, "coder", "observation_model")

    typical_disagreement: Tensor
    """95 % of the held-out real steps have less: the unit of `Prediction.disagreement`."""

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.typical_disagreement.device

    @property
    def choices(self) -> int:
        """Members of an ensemble that a dream may follow; 1 where there is no ensemble."""
        return self.dynamics.choices

    def encode(self, obs: Tensor) -> Tensor:
        """Latents `[N, Z]` of observations `[N, ...]`."""
        return self.observation_model.encode(obs)

    def decode(self, latent: Tensor) -> Tensor:
        """Observations `[N, ...]`, floats in the environment's units."""
        return self.observation_model.decode(latent)

    def initial_state(self, count: int) -> Tensor:
        """Memory `[count, S]` before the first step."""
        return self.dynamics.initial_state(count)

    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling) -> Prediction:
        """Predict one step of N worlds: `latent [N, Z]`, `action [N, ...]` as the environment takes it."""
        vector = self.actions(action)
        change = self.dynamics.step(latent, vector, state, sampling)
        inputs = self._head_inputs(latent, vector, change.latent, change.features)
        return Prediction(
            latent=change.latent,
            state=change.state,
            reward=self.heads.reward(inputs),
            end_logit=self.heads.end_logit(inputs),
            disagreement=change.disagreement / self.typical_disagreement,
        )

    def loss(
        self, sequences: SequenceBatch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of dynamics and heads; the heads are given the true successor, as the dynamics should predict it."""
        latent, mask = sequences.latent, sequences.mask
        vector = self.actions(sequences.action)
        loss, metrics, features = self.dynamics.loss(latent, vector, sequences.next_latent, mask, generator)
        inputs = self._head_inputs(latent, vector, sequences.next_latent, features)
        reward = masked_mean(self.heads.reward_loss(inputs, sequences.reward), mask)
        end = masked_mean(self.heads.end_loss(inputs, sequences.terminated), mask & sequences.end_known)
        config = self.heads.config
        total = loss + config.reward_weight * reward + config.end_weight * end
        return total, metrics | {"loss/reward": reward, "loss/end": end, "loss/total": total}

    def _head_inputs(self, latent: Tensor, vector: Tensor, next_latent: Tensor, features: Tensor) -> Tensor:
        """Inputs of the heads for a step: latent, action, next latent, change, features."""
        dynamics = self.dynamics
        arrived = (next_latent - dynamics.center) / dynamics.deviation
        change = dynamics.target(latent, next_latent)
        return torch.cat([dynamics.inputs(latent, vector), arrived, change, features], -1)


def as_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to the model's device; float64 becomes float32."""
    tensor = torch.as_tensor(array)
    return tensor.to(device, torch.float32 if tensor.dtype == torch.float64 else tensor.dtype)
