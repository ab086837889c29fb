"""A world model: an encoder, dynamics of what it encodes, and two heads that say what a step brought.

Three parts that know nothing of each other, so that every coder works with all dynamics, and any agent in what
comes out. Shapes are time-major, memory is a value, as everywhere in this library.
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
from .actions import ActionCoder
from .heads import Heads, HeadsConfig


class Windows(NamedTuple):
    """Pieces of real episodes for learning from, `[T, B, ...]`, none across an episode's end."""

    latent: Tensor
    action: Tensor
    """As the environment takes it."""
    reward: Tensor
    next_latent: Tensor
    terminated: Tensor
    end_known: Tensor
    """False where an episode was only cut off: nobody saw whether it would have ended there."""
    mask: Tensor
    """False after the end of an episode, where a window is filled up."""


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
    """Whether anybody wants to know it; without, an ensemble costs no more than one of its members."""


class Change(NamedTuple):
    """What dynamics predict."""

    latent: Tensor
    """The next one, `[N, Z]`."""
    state: Tensor
    """Memory after the step, `[N, S]`."""
    features: Tensor
    """What the memory tells the heads, `[N, F]`."""
    disagreement: Tensor
    """Deviation among an ensemble's members `[N]`, in units of a typical step; 0 where there is only one."""


class Prediction(NamedTuple):
    """What a world model says of one step."""

    latent: Tensor
    """The next one, `[N, Z]`."""
    state: Tensor
    """Memory after the step, `[N, S]`."""
    reward: Tensor
    """`[N]`, in the environment's units."""
    end_logit: Tensor
    """Log odds that the episode has terminated, `[N]`."""
    disagreement: Tensor
    """How far the members of an ensemble are apart, `[N]`."""


class Coder(nn.Module, ABC):
    """Observations to latents and back. Concrete coders take `(observation space, config)`."""

    Config: ClassVar[type]
    latent_size: int
    learns: ClassVar[bool] = True
    scaler: nn.Module
    """To what networks see and back; `scaler.fit(obs)` measures the observations first."""

    @abstractmethod
    def encode(self, obs: Tensor) -> Tensor:
        """Latents `[N, Z]` of observations `[N, ...]`; without noise."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Observations `[N, ...]` as floats, in the environment's units and within its bounds."""

    @abstractmethod
    def loss(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of observations `[N, ...]`, in nats; noise comes from `generator`."""


class Dynamics(nn.Module, ABC):
    """Latent and action to the next latent. Concrete dynamics take `(latent size, action size, config)`.

    They learn and predict changes in units of a typical change, from latents in units of their deviation:
    `fit_scale` measures both. Actions come as vectors, `[..., A]`.
    """

    Config: ClassVar[type]
    sequence_length: int = 1
    """Steps of the windows that it learns from."""
    choices: int = 1
    """Members of an ensemble that a dream may follow."""
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
        """Measure latents `[N, Z]` and what follows them."""
        seen = torch.cat([latent, next_latent]).double()
        self.center.copy_(seen.mean(0))
        self.deviation.copy_(_positive(seen.std(0)))
        self.change.copy_(_positive((next_latent - latent).double().square().mean(0).sqrt()))
        # A dream may leave what was seen, but not for infinity.
        low, high = seen.amin(0), seen.amax(0)
        self.low.copy_(low - (high - low))
        self.high.copy_(high + (high - low))

    def inputs(self, latent: Tensor, action: Tensor) -> Tensor:
        """What networks see of a step, `[..., Z + A]`."""
        return torch.cat([(latent - self.center) / self.deviation, action], -1)

    def target(self, latent: Tensor, next_latent: Tensor) -> Tensor:
        """The change of a step, in units of a typical one."""
        return (next_latent - latent) / self.change

    def advance(self, latent: Tensor, change: Tensor) -> Tensor:
        """Undo `target`, kept near what was seen."""
        return torch.maximum(torch.minimum(latent + change * self.change, self.high), self.low)

    def initial_state(self, count: int) -> Tensor:
        """Memory `[count, S]` before anything was seen."""
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
        """Loss, metrics, and features `[T, B, F]` for the heads, of windows `[T, B, ...]` with memory from zero.

        Where something is drawn, `generator` draws it.
        """

    @abstractmethod
    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling) -> Change:
        """Predict one step of N dreams."""

    def observe(self, latent: Tensor, action: Tensor, state: Tensor) -> Tensor:
        """Memory `[N, S]` after a real step, whose successor is real, too."""
        return self.step(latent, action, state, Sampling()).state

    def choose_members(self, latent: Tensor, action: Tensor, next_latent: Tensor) -> None:
        """Keep the best of an ensemble, judged by held-out steps `[N, ...]`; nothing to do for one model."""
        return None


class WorldModel(nn.Module):
    """Coder, dynamics and heads in one; what a dream needs to go on."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        coder: type[Coder],
        dynamics: type[Dynamics],
        coder_config: Any = None,
        dynamics_config: Any = None,
        heads_config: HeadsConfig | None = None,
    ):
        super().__init__()
        self.observation_space = observation_space
        self.action_space = action_space
        self.actions = ActionCoder(action_space)
        # Coders and dynamics agree on their constructors by convention, as encoders and memories do.
        self.coder = coder(observation_space, coder_config or coder.Config())  # type: ignore[call-arg]
        size = self.coder.latent_size
        settings = dynamics_config or dynamics.Config()
        self.dynamics = dynamics(size, self.actions.size, settings)  # type: ignore[call-arg]
        inputs = 3 * size + self.actions.size + self.dynamics.feature_size
        self.heads = Heads(inputs, heads_config or HeadsConfig())
        self.register_buffer("typical_disagreement", torch.ones(()))

    typical_disagreement: Tensor
    """95 % of the real steps that were held out have less: the unit of `Prediction.disagreement`."""

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
        return self.coder.encode(obs)

    def decode(self, latent: Tensor) -> Tensor:
        """Observations `[N, ...]`, floats in the environment's units."""
        return self.coder.decode(latent)

    def initial_state(self, count: int) -> Tensor:
        """Memory `[count, S]` before anything was seen."""
        return self.dynamics.initial_state(count)

    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling) -> Prediction:
        """Predict one step of N worlds: `latent [N, Z]`, `action [N, ...]` as the environment takes it."""
        vector = self.actions(action)
        change = self.dynamics.step(latent, vector, state, sampling)
        seen = self._head_inputs(latent, vector, change.latent, change.features)
        disagreement = change.disagreement / self.typical_disagreement
        return Prediction(
            change.latent, change.state, self.heads.reward(seen), self.heads.end_logit(seen), disagreement
        )

    def loss(
        self, windows: Windows, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of dynamics and heads; the heads see the true successor, as the dynamics should have predicted it."""
        latent, mask = windows.latent, windows.mask
        vector = self.actions(windows.action)
        loss, metrics, features = self.dynamics.loss(latent, vector, windows.next_latent, mask, generator)
        seen = self._head_inputs(latent, vector, windows.next_latent, features)
        reward = masked_mean(self.heads.reward_loss(seen, windows.reward), mask)
        end = masked_mean(self.heads.end_loss(seen, windows.terminated), mask & windows.end_known)
        config = self.heads.config
        total = loss + config.reward_weight * reward + config.end_weight * end
        return total, metrics | {"loss/reward": reward, "loss/end": end, "loss/total": total}

    def _head_inputs(self, latent: Tensor, vector: Tensor, next_latent: Tensor, features: Tensor) -> Tensor:
        """A step as the heads see it: where from, what was done, where to, how far."""
        dynamics = self.dynamics
        arrived = (next_latent - dynamics.center) / dynamics.deviation
        change = dynamics.target(latent, next_latent)
        return torch.cat([dynamics.inputs(latent, vector), arrived, change, features], -1)


def _positive(scale: Tensor) -> Tensor:
    """Units to divide by; what never varies keeps its own."""
    return torch.where(scale > 1e-6, scale, torch.ones_like(scale))


def as_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to the model's device; float64 becomes float32."""
    tensor = torch.as_tensor(array)
    return tensor.to(device, torch.float32 if tensor.dtype == torch.float64 else tensor.dtype)
