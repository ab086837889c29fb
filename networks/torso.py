"""Torso: what turns observations into features. An encoder reads one step, a memory carries state across steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor, nn

from .contract import acting, check_parts, is_ours, named
from .encoder import Encoder, NestedEncoder
from .masks import mask_space
from .tree import tree_leaves, tree_map


class Memory(nn.Module, ABC):
    """What carries information from step to step, with the state as a value.

    The contract, for every memory: unrolling T steps at once, in chunks or one by one gives the same outputs,
    and nothing before a `first` changes anything after it.
    """

    Config: ClassVar[type]
    size: int
    state_size: int
    # Whether a replay memory keeps the state beside every step; a large one is better built again from a few steps.
    replayed: ClassVar[bool] = True
    # Whether unrolling can be compiled, and whether it may be.
    compiles: ClassVar[bool] = False
    compiled = False

    @property
    def traceable(self) -> bool:
        """Whether a chunk is computed the same way wherever episodes start in it, as a compiled step needs."""
        return False

    @abstractmethod
    def forward(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Map features `[T, B, D]`, state `[B, S]`, episode starts `[T, B]` to `([T, B, size], next state)`."""

    def initial_state(self, num_envs: int) -> Tensor:
        """State `[num_envs, S]` before anything was seen."""
        return next(iter(self.parameters()), torch.empty(0)).new_zeros(num_envs, self.state_size)


class Torso(nn.Module):
    """Encoder and memory in one: `(obs [T, B, ...], state [B, S], first [T, B]) -> (features [T, B, size], state)`.

    `mask_space` is that of the action masks in the observations, None where there are none. `auxiliary` is what the
    encoder learns from beside the losses of agents: no output depends on it, but optimisers find it here.
    """

    def __init__(
        self,
        encoder: Encoder,
        memory: Memory,
        mask_space: spaces.Space | None = None,
        auxiliary: nn.Module | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.memory = memory
        self.auxiliary = auxiliary
        self.size = memory.size
        # Heads read the mask, but only who builds the torso knows the observation space.
        self.mask_space = mask_space
        self.is_ours = all(map(is_ours, self.modules()))

    def forward(self, obs: Any, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a `[T, B]` chunk and the state after it."""
        lead = first.shape
        features = self.encoder(tree_map(lambda x: x.reshape(-1, *x.shape[2:]), obs))
        return self.memory(features.reshape(*lead, -1), state, first)

    def acting(self) -> AbstractContextManager[None]:
        """Act, not learn: what drops units out or counts batch statistics does so only while it learns."""
        return nullcontext() if self.is_ours else acting(self)

    def single_step(self, obs: Any) -> Tensor:
        """Features `[N, size]` of single observations `[N, ...]`, without a memory."""
        state = self.initial_state(leading_rows(obs))
        first = state.new_ones(1, len(state), dtype=torch.bool)
        return self(tree_map(lambda x: x.unsqueeze(0), obs), state, first)[0].squeeze(0)

    def initial_state(self, num_envs: int) -> Tensor:
        """State `[num_envs, S]` before anything was seen; S = 0 without a memory."""
        return self.memory.initial_state(num_envs)

    @property
    def shared_by_default(self) -> bool:
        """Whether an actor-critic should use one torso for both networks unless told otherwise."""
        return self.encoder.shared_by_default

    @property
    def state_size(self) -> int:
        """Width S of the state; 0 without a memory."""
        return self.memory.state_size

    @property
    def has_memory(self) -> bool:
        """Whether features depend on earlier steps."""
        return self.state_size > 0

    @property
    def traceable(self) -> bool:
        """Whether a step that contains it can be compiled."""
        return self.memory.traceable

    @property
    def replayed_size(self) -> int:
        """Width of the state that a replay memory keeps beside every step; 0 where it is built again."""
        return self.state_size if self.memory.replayed else 0

    def replayed_state(self, state: Tensor) -> Tensor:
        """State `[B, S]` to begin with, of what the replay kept."""
        return state if self.memory.replayed else self.initial_state(len(state))

    @property
    def has_statistics(self) -> bool:
        """Whether its encoder has running statistics of observations."""
        return self.encoder.has_statistics

    def update_statistics(self, obs: Any) -> None:
        """Add observations `[N, ...]` to running statistics; none at all where every environment is resetting."""
        if leading_rows(obs):
            self.encoder.update_statistics(obs)


def build_torso(
    obs_space: spaces.Space,
    encoder: type[Encoder],
    memory: type[Memory],
    encoder_config: Any = None,
    memory_config: Any = None,
    make_auxiliary: Callable[[Encoder], nn.Module | None] = lambda encoder: None,
    compile: bool = False,
) -> Torso:
    """Build a torso for an observation space; configs left out take their defaults.

    With `compile`, its memory may be compiled.

    An encoder of pictures takes Dict and Tuple spaces too: it encodes the pictures in them, and a world model's what
    it was fitted to (`NestedEncoder`).

    Raises:
        TypeError: the encoder does not take such observations, or a part from outside breaks its contract.
    """
    # The classes of components agree on their constructors by convention: (space or input size, config).
    config = encoder_config or encoder.Config()
    if not encoder.accepts(obs_space) and NestedEncoder.fits(obs_space, encoder):
        built: Encoder = NestedEncoder(obs_space, encoder, config)
        size = built.size
    else:
        with named(encoder, "is built"):
            built = encoder(obs_space, config)  # type: ignore[call-arg]
            size = built.size
    with named(memory, "is built"):
        built_memory = memory(size, memory_config or memory.Config())  # type: ignore[call-arg]
    built_memory.compiled = compile
    torso = Torso(built, built_memory, mask_space(obs_space), make_auxiliary(built))
    if not torso.is_ours:
        check_parts(built, built_memory, obs_space)
    return torso


def pick(x: Tensor, rows: Tensor) -> Tensor:
    """Of each column of `x [M, N, ...]`, the rows `[L, N]`."""
    return x[rows, torch.arange(rows.shape[1], device=rows.device)]


def leading_rows(obs: Any) -> int:
    """Length of the first axis of an observation batch, nested or not."""
    return len(tree_leaves(obs)[0])
