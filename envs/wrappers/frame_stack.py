"""The last observations together, as one: for pictures in which no movement can be made out."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.tree import tree_leaves, tree_like
from ..vector import Envs, EnvStep
from .wrapper import ObservationWrapper

# The part of a Dict observation that holds for one step only.
MASK = "action_mask"

# Steps that fit into a block besides the window's own frames.
BLOCK = 64


class Frames:
    """The last `count` observations of all environments, `[B, count, ...]`, the newest last.

    Every observation is written once, into a block `[B, BLOCK + count, ...]`; the window is a view of it that moves
    along by one. When the block is full, and when an episode begins (its first observation then stands for those that
    were not), a new block is begun with a copy of the window, since views of the old one may still be in use.
    """

    def __init__(self, obs: np.ndarray, count: int):
        self.count = count
        self.block = np.repeat(obs[:, None], count, axis=1)
        self.end = count

    @property
    def window(self) -> np.ndarray:
        """The last observations `[B, count, ...]`; nothing is ever written into it again."""
        return self.block[:, self.end - self.count : self.end]

    def add(self, obs: np.ndarray) -> None:
        """Move on by one observation `[B, ...]`."""
        if self.end == self.block.shape[1]:
            self._renew()
        self.block[:, self.end] = obs
        self.end += 1

    def begin(self, mask: np.ndarray, obs: np.ndarray) -> None:
        """Begin episodes with the observations `obs [B, ...]` where `mask [B]`."""
        self._renew()
        self.block[mask, : self.count] = obs[mask, None]

    def _renew(self) -> None:
        window = self.window
        rows, _, *shape = self.block.shape
        self.block = np.empty((rows, BLOCK + self.count, *shape), window.dtype)
        self.block[:, : self.count] = window
        self.end = self.count


class FrameStack(ObservationWrapper):
    """Gives the last `count` observations together on a new axis in front, the newest last; of action masks the newest.

    The same layout as Gymnasium's FrameStackObservation, which copies all frames in every step.
    """

    def __init__(self, envs: Envs, count: int):
        space = envs.observation_space
        self.masked = isinstance(space, spaces.Dict) and MASK in space.spaces
        super().__init__(envs, stacked_space(space, count, but=MASK))
        self.count = count
        self.frames: list[Frames] = []

    def _leaves(self, obs: Any) -> list[np.ndarray]:
        """What is stacked."""
        return tree_leaves({key: part for key, part in obs.items() if key != MASK} if self.masked else obs)

    def _stacked(self, obs: Any) -> Any:
        windows = [frames.window for frames in self.frames]
        if not self.masked:
            return tree_like(obs, windows)
        stacked = tree_like({key: part for key, part in obs.items() if key != MASK}, windows)
        return {key: stacked.get(key, part) for key, part in obs.items()}

    def begin_all(self, obs: Any) -> Any:
        """The first observation stands for those that were not."""
        self.frames = [Frames(leaf, self.count) for leaf in self._leaves(obs)]
        return self._stacked(obs)

    def follow(self, obs: Any, action: Any, step: EnvStep) -> Any:
        """Move on by one observation."""
        for frames, leaf in zip(self.frames, self._leaves(step.next_obs), strict=True):
            frames.add(leaf)
        return self._stacked(step.next_obs)

    def begin(self, first: np.ndarray, step: EnvStep) -> Any:
        """Begin episodes with their first observation."""
        for frames, leaf in zip(self.frames, self._leaves(step.obs), strict=True):
            frames.begin(first, leaf)
        return self._stacked(step.obs)

    def own_state(self) -> dict[str, Any]:
        """What is in the windows."""
        return {"window": [frames.window.copy() for frames in self.frames]}

    def load_own_state(self, state: dict[str, Any]) -> Any:
        """Fill the windows again."""
        obs = self.envs.obs
        self.frames = [Frames(leaf, self.count) for leaf in self._leaves(obs)]
        for frames, window in zip(self.frames, state["window"], strict=True):
            frames.block[:] = window
        return self._stacked(obs)


def stacked_space(space: spaces.Space, count: int, but: str | None = None) -> spaces.Space:
    """Space of `count` observations together; Dict and Tuple spaces part by part, the part `but` as it is.

    Raises:
        TypeError: a part is not a Box.
    """
    match space:
        case spaces.Dict():
            parts = {key: part if key == but else stacked_space(part, count) for key, part in space.items()}
            return spaces.Dict(parts)
        case spaces.Tuple():
            return spaces.Tuple([stacked_space(part, count) for part in space])
        case spaces.Box():
            low, high = (np.repeat(bound[None], count, axis=0) for bound in (space.low, space.high))
            return spaces.Box(low, high, dtype=space.dtype.type)
    raise TypeError(f"frame_stack puts Box observations together, got {space}; leave it at 1")
