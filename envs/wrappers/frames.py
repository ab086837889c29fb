"""The last observations together, as one: for pictures that do not show how things move."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.tree import tree_leaves, tree_like, tree_map
from ..vector import DISABLED, NEXT_STEP, SAME_STEP, Backend, with_final_obs
from .around import Around

# Steps that fit into a block besides the window's own frames.
BLOCK = 64


class Frames:
    """The last `count` observations of all environments, `[B, count, ...]`, the newest last.

    Every observation is written once, into a block `[B, BLOCK + count, ...]`; what is shown is a view of it that moves
    along by one. When the block is full, and when an episode begins (its first observation then stands for those that
    were not), a new block is begun with a copy of the window, since views of the old one may still be in use.
    """

    def __init__(self, obs: np.ndarray, count: int):
        self.count = count
        self.block = np.repeat(obs[:, None], count, axis=1)
        self.end = count

    @property
    def window(self) -> np.ndarray:
        """What to show, `[B, count, ...]`; nothing is ever written into it again."""
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


class FrameStack(Around):
    """Any backend, showing its last `count` observations together on a new axis in front, the newest last.

    The same layout as Gymnasium's FrameStackObservation, which copies all frames in every step.
    """

    def __init__(self, backend: Backend, count: int):
        super().__init__(backend)
        self.count = count
        self.observation_space = stacked_space(backend.observation_space, count)
        self.frames: list[Frames] = []
        self.resetting = np.zeros(self.num_envs, bool)
        # What was shown before the last step, for `undo`.
        self._before: list[tuple[np.ndarray, int]] = []

    @property
    def obs(self) -> Any:  # type: ignore[override]
        """What is shown, `[B, count, ...]`."""
        return tree_like(self.backend.obs, [frames.window for frames in self.frames])

    def start(self) -> Any:
        """Begin the first episodes."""
        return self._start(self.backend.start())

    def _start(self, obs: Any) -> Any:
        self.frames = [Frames(leaf, self.count) for leaf in tree_leaves(obs)]
        self.resetting = np.zeros(self.num_envs, bool)
        return self.obs

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step, and move on by one observation."""
        self._before = [(frames.block, frames.end) for frames in self.frames]
        obs, reward, terminated, truncated, info = self.backend.step(action)
        done = terminated | truncated
        if self.autoreset_mode is SAME_STEP and done.any():
            # The successor is shown in `final_obs`; the episode after it has already begun.
            self._add(with_final_obs(obs, done, info["final_obs"]))
            info = {**info, "final_obs": self.obs}
            self._begin(done, obs)
        else:
            self._add(obs)
        if self.autoreset_mode is NEXT_STEP:
            if self.resetting.any():
                self._begin(self.resetting, obs)
            self.resetting = done & ~self.resetting
        return self.obs, reward, terminated, truncated, info

    def _add(self, obs: Any) -> None:
        for frames, leaf in zip(self.frames, tree_leaves(obs), strict=True):
            frames.add(leaf)

    def _begin(self, mask: np.ndarray, obs: Any) -> None:
        for frames, leaf in zip(self.frames, tree_leaves(obs), strict=True):
            frames.begin(mask, leaf)

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`."""
        assert self.autoreset_mode is DISABLED
        self._begin(mask, self.backend.restart(mask))
        return self.obs

    def undo(self, obs: Any) -> bool:
        """Show again what was shown before the last step."""
        for frames, (block, end) in zip(self.frames, self._before, strict=True):
            frames.block, frames.end = block, end
        return self.backend.undo(tree_map(lambda leaf: leaf[:, -1], obs))

    def state_dict(self) -> dict[str, Any]:
        """Where the environments are, and what is in the window."""
        return {
            "backend": self.backend.state_dict(),
            "window": [frames.window.copy() for frames in self.frames],
            "resetting": self.resetting.copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring them back there; without `exact_resume` new episodes have begun."""
        super().load_state_dict(state)
        self._start(self.backend.obs)
        if self.exact_resume:
            for frames, window in zip(self.frames, state["window"], strict=True):
                frames.block[:] = window
            self.resetting = np.array(state["resetting"])


def stacked_space(space: spaces.Space, count: int) -> spaces.Space:
    """Space of `count` observations together; Dict and Tuple spaces part by part.

    Raises:
        TypeError: a part is not a Box.
    """
    match space:
        case spaces.Dict():
            return spaces.Dict({key: stacked_space(part, count) for key, part in space.items()})
        case spaces.Tuple():
            return spaces.Tuple([stacked_space(part, count) for part in space])
        case spaces.Box():
            low, high = (np.repeat(bound[None], count, axis=0) for bound in (space.low, space.high))
            return spaces.Box(low, high, dtype=space.dtype.type)
    raise TypeError(f"frame_stack puts Box observations together, got {space}; leave it at 1")
