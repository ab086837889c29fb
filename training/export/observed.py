"""What our wrappers of `Envs` add to observations, computed inside an exported policy and carried as states.

So a player gives what the environment gives, and need know nothing of frame stacks and previous actions. Only the
previous reward must come from outside: it is an input.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...envs.vector import Envs
from ...envs.wrappers.frame_stack import MASK, FrameStack
from ...envs.wrappers.model_memory import MEMORY, ShowModelMemory
from ...envs.wrappers.previous import ACTION, REWARD, ShowPrevious
from ...envs.wrappers.wrapper import EnvsWrapper
from ...networks.action_spaces import simplified
from ...networks.observations import vector
from ...networks.vectors import flat_size, from_leaves, leaf_observations, leaf_spaces
from ..imagination.model_memory import ModelMemory
from .memory_steps import begun
from .names import leaf_paths, named


class Carried(NamedTuple):
    """A state that goes in and comes out."""

    name: str
    shape: tuple[int, ...]
    """Of one copy."""
    dtype: np.dtype


class Observed(nn.Module):
    """Observations as the agent sees them, of those of the environment and of what is carried from step to step."""

    def __init__(self, envs: Envs):
        super().__init__()
        wrappers = wrappers_of(envs)
        self.raw_space = innermost(envs).observation_space
        self.action_space = simplified(envs.action_space)
        self.count = next((each.count for each in wrappers if isinstance(each, FrameStack)), 1)
        self.shows_previous = any(isinstance(each, ShowPrevious) for each in wrappers)
        self.model: nn.Module | None = None
        for each in wrappers:
            if isinstance(each, ShowModelMemory) and isinstance(each.model, ModelMemory):
                self.model = each.model.model
        paths = leaf_paths(self.raw_space)
        self.stacked = [at for at, path in enumerate(paths) if self.count > 1 and path[:1] != (MASK,)]
        leaves = leaf_spaces(self.raw_space)
        self.carried = [
            Carried(
                named("frames", paths[at]),
                (self.count - 1, *(leaves[at].shape or ())),
                np.dtype(leaves[at].dtype),
            )
            for at in self.stacked
        ]
        if self.model is not None:
            size = self.model.dynamics.state_size  # type: ignore[union-attr]
            self.carried.append(Carried(MEMORY, (size,), np.dtype(np.float32)))  # type: ignore[arg-type]
        if self.shows_previous:
            size = sum(map(flat_size, leaf_spaces(self.action_space)))
            self.carried.append(Carried(ACTION, (size,), np.dtype(np.float32)))

    def forward(
        self, leaves: list[Tensor], reward: Tensor | None, first: Tensor | None, states: list[Tensor]
    ) -> tuple[Any, Tensor | None, list[Tensor]]:
        """What the agent sees, the world model's latent and the next frames.

        Args:
            leaves: of the environment's observation, `[B, ...]`.
            reward: `[B, 1]` of the step before, where previous rewards are shown.
            first: `[B]`, where there are states.
            states: one for each of `carried`.
        """
        remaining, frames_after = list(states), []
        for at in self.stacked:
            assert first is not None
            obs = leaves[at].unsqueeze(1)
            kept = remaining.pop(0)
            opens = first.reshape(-1, *[1] * (kept.dim() - 1))
            # The first observation stands for those that were not.
            window = torch.cat([torch.where(opens, obs, kept), obs], 1)
            frames_after.append(window[:, 1:])
            leaves = [*leaves[:at], window, *leaves[at + 1 :]]
        seen: Any = from_leaves(self.raw_space, leaves)
        latent = None
        if self.model is not None and first is not None:
            latent = self.model.encode(_float32(seen))  # type: ignore[operator]
            seen = _joined(seen, {MEMORY: begun(remaining.pop(0), first)})
        if self.shows_previous and first is not None and reward is not None:
            zeroed = {ACTION: begun(remaining.pop(0), first), REWARD: begun(reward, first)}
            seen = _joined(seen, zeroed)
        return seen, latent, frames_after

    def after(self, obs: Any, latent: Tensor | None, action: Any) -> list[Tensor]:
        """The other states after executing `action` on what the agent saw."""
        states = []
        if self.model is not None:
            encoded = self.model.actions(_float32(action))  # type: ignore[operator]
            states.append(self.model.dynamics.observe(latent, encoded, obs[MEMORY]))  # type: ignore[union-attr,operator]
        if self.shows_previous:
            leaves = zip(
                leaf_spaces(self.action_space), leaf_observations(self.action_space, action), strict=True
            )
            states.append(torch.cat([vector(leaf, value) for leaf, value in leaves], -1))
        return states


def wrappers_of(envs: Envs) -> list[EnvsWrapper]:
    """The wrappers around some environments, outermost first."""
    found = []
    while isinstance(envs, EnvsWrapper):
        found.append(envs)
        envs = envs.envs
    return found


def innermost(envs: Envs) -> Envs:
    """The environments without our wrappers: their observations are what a player gets."""
    wrappers = wrappers_of(envs)
    return wrappers[-1].envs if wrappers else envs


def _joined(obs: Any, parts: dict[str, Tensor]) -> dict[str, Any]:
    return {**(obs if isinstance(obs, dict) else {"obs": obs}), **parts}


def _float32(x: Any) -> Any:
    """As a world model takes arrays."""
    return x.float() if isinstance(x, Tensor) and x.dtype == torch.float64 else x
