"""Auxiliary losses: what trains an encoder beside the loss of any agent. The choices are the files beside this one.

An auxiliary loss is a part of each torso, so its parameters lie in the vector of whichever optimiser trains the torso,
are checkpointed with it, and every step of that optimiser is followed by one on this loss (`LearnsBeside`). What it
learns from are the recent steps of all environments, which it draws by itself: agents know nothing of it.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from gymnasium import spaces
from torch import Tensor, nn

from ...networks.encoder import Encoder, without_own_loss
from ...networks.observations import Planes
from ...networks.optimizer import FlatAdam, LearnsBeside
from ...networks.tree import tree_map
from ...networks.vectors import flat_size, leaf_spaces, numpy_flatten
from ..agent import Agent, Metrics, StepStore, Store, Transition, named_generator
from ..storage.replay import Replay
from .augmentation import Augmentation

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class AuxiliaryConfig:
    """What all auxiliary losses have."""

    weight: Annotated[float, Gt(0)] = 0.3
    """Length of its steps, as a share of the agent's learning rate: each step of the agent is followed by one on this
    loss, with moments of its own."""
    batch_size: Annotated[int, Gt(1)] = 128
    """Recent steps that are drawn for each optimiser step; of contrastive losses, the others are the negatives."""
    capacity: Annotated[int, Gt(0)] = 10_000
    """Steps that are kept to draw from, summed over environments."""
    momentum: Annotated[float, Interval(gt=0, le=1)] = 0.05
    """How far each optimiser step moves the encoder that gives the targets towards the one that learns."""
    shift: Annotated[int, Ge(0)] | None = None
    """Pictures are shifted at random by up to so many pixels each way; by default a twentieth of their smaller side,
    so that those below 11 pixels are not."""
    noise: Annotated[float, Ge(0)] = 0.1
    """Vectors get normal noise of so many of their deviations in the batch."""
    masking: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Share of the numbers in vectors that are replaced by those of another step of the batch."""


class Steps(NamedTuple):
    """Consecutive steps of `N` episodes, NumPy arrays."""

    obs: Any
    """The observations `[N, ...]` that they begin at."""
    action: np.ndarray
    """Actions `[K, N, A]` as vectors; choices are one-hot."""
    next_obs: Any
    """True successors `[K, N, ...]` of the steps."""
    valid: np.ndarray
    """`[K, N]`: the episode had not ended before this step."""


class RecentSteps(StepStore):
    """The last steps of all environments, whatever the agent: what auxiliary losses draw from."""

    def __init__(self, action_space: spaces.Space, capacity: int, seed: int):
        self.replay = Replay(capacity)
        self.vector = numpy_flatten(action_space)
        self.action_size = sum(map(flat_size, leaf_spaces(action_space)))
        self.generator = named_generator(seed, "auxiliary/draw")

    def __deepcopy__(self, memo: dict[int, Any]) -> RecentSteps:
        # Target networks are copies, and draw nothing.
        return self

    def __len__(self) -> int:
        return len(self.replay)

    def add(self, transition: Transition) -> None:
        """Keep one step of all environments."""
        self.replay.add(transition._replace(action=self.vector(transition.action)))

    def draw(self, count: int, length: int) -> Steps:
        """Draw `count` observations with the `length` steps after each; none of them need be another's successor."""
        replay = self.replay
        slots, _ = replay.draw(count, self.generator, 1.0)
        obs = replay.obs_at(slots)
        valid, rows = np.ones(count, bool), []
        for _ in range(length):
            rows.append((replay.action.take(slots, 0), replay.successor_obs(slots), valid))
            # Where an episode ended, its last step is repeated and does not count.
            valid = valid & replay.continues.take(slots)
            slots = np.where(valid, replay.successors(slots), slots)
        if not rows:
            return Steps(
                obs, np.zeros((0, count, self.action_size), np.float32), obs, np.zeros((0, count), bool)
            )
        action, next_obs, counts = zip(*rows, strict=True)
        return Steps(obs, np.stack(action), tree_map(lambda *x: np.stack(x), *next_obs), np.stack(counts))

    def store(self, step_bytes: int, state_size: int, num_envs: int, frames: int = 1) -> Store:
        """What the ring takes once it is full."""
        own = self.replay.store(step_bytes + 4 * self.action_size, 0, num_envs, frames)
        return own._replace(option="auxiliary.capacity")

    def state_dict(self) -> dict[str, Any]:
        """The steps, and where the generator stands."""
        return {"replay": self.replay.state_dict(), "generator": self.generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.replay.load_state_dict(state["replay"])
        self.generator.bit_generator.state = state["generator"]


class Auxiliary(nn.Module, LearnsBeside):
    """Loss of an encoder that needs no reward.

    A concrete one takes `(encoder, obs_space, steps, config)`. What gives its targets (`slow_copy`) gets no gradient,
    and moves slowly after what learns.

    Raises:
        ValueError: nothing of the encoder can learn.
    """

    Config: ClassVar[type]

    def __init__(self, encoder: Encoder, obs_space: spaces.Space, steps: RecentSteps, config: Any):
        super().__init__()
        if not any(parameter.requires_grad for parameter in encoder.parameters()):
            raise ValueError(
                "an auxiliary loss trains the encoder, and this one has nothing to train: give it layers, for "
                "example --encoder.hidden 64 64"
            )
        self.config = config
        self.beside_pace = config.weight
        self.steps = steps
        planes = [part for part in encoder.modules() if isinstance(part, Planes)]
        channel_axis = planes[0].channel_axis if planes else "auto"
        self.augment = Augmentation(obs_space, config.shift, config.noise, config.masking, channel_axis)
        # In a tuple, so that it is not a part twice.
        self._encoder = (encoder,)

    @property
    def encoder(self) -> Encoder:
        """The encoder that learns."""
        return self._encoder[0]

    def features(self, obs: Any) -> Tensor:
        """Features `[N, size]` of observations `[N, ...]`; no loss of the encoder's own comes with them."""
        with without_own_loss(self.encoder):
            return self.encoder(obs)

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    @abstractmethod
    def own_loss(self, drawn: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss; as metrics `auxiliary/loss`, the same, and `auxiliary/accuracy`."""

    def followed(self) -> list[tuple[nn.Module, nn.Module]]:
        """Modules that give targets, each with the one that it follows; none by default."""
        return []

    @torch.no_grad()
    def after_step(self) -> None:
        """Move what gives the targets towards what has learned."""
        for slow, fast in self.followed():
            torch._foreach_lerp_([*slow.parameters()], [*fast.parameters()], self.config.momentum)


def slow_copy(module: Module) -> Module:
    """Copy a module for targets: without gradients, sharing the running statistics of observations."""
    copied = copy.deepcopy(module, {id(buffer): buffer for buffer in module.buffers()})
    return copied.requires_grad_(False)


def with_steps(agent_class: type[Agent], steps: RecentSteps) -> type[Agent]:
    """Return the class of an agent that also keeps `steps` for its auxiliary losses, as one more of its parts."""

    class WithSteps(agent_class):  # type: ignore[valid-type,misc]
        def learn(self, transition: Transition) -> Metrics:
            steps.add(transition)
            return super().learn(transition)

        def parts(self) -> dict[str, Any]:
            return super().parts() | {"auxiliary_steps": steps}

    WithSteps.__name__ = WithSteps.__qualname__ = agent_class.__name__
    WithSteps.__doc__ = agent_class.__doc__
    return WithSteps


def learns_beside(agent: Agent) -> bool:
    """Whether an optimiser of the agent adds auxiliary losses to its own."""
    return any(isinstance(part, FlatAdam) and part.beside for part in agent.parts().values())
