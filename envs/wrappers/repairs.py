"""What Gymnasium's environments and wrappers lack."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs


class FreshWorld(gymnasium.Wrapper, RecordConstructorArgs):
    """BipedalWalker with a new Box2D world for every episode.

    The old world remembers the bodies that were destroyed, so that an episode depends on those before it, and
    its seed does not determine it. LunarLander had the same fault (Farama-Foundation/Gymnasium#728).
    """

    def __init__(self, env: gymnasium.Env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in a new world."""
        walker: Any = self.env.unwrapped
        walker._destroy()
        walker.world = type(walker.world)()
        return self.env.reset(seed=seed, options=options)


class BytePictures(gymnasium.Wrapper, RecordConstructorArgs):
    """Pictures as uint8: MinAtar draws in numbers from 0 to 1."""

    def __init__(self, env: gymnasium.Env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def render(self) -> Any:
        """Draw, sixteen times as large: a cell of MinAtar is a pixel."""
        frame = np.asarray(self.env.render())
        return (255 * frame).astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)


class ShowActionMask(gymnasium.Wrapper, RecordConstructorArgs):
    """Which actions are allowed, from `info["action_mask"]` into the observation, where agents see it.

    Observations become a Dict of `obs` and `action_mask`, int8; where they are one already, it gets the key. A mask
    holds one number for each of the Discrete actions, or for each choice of MultiDiscrete ones, 0 where it is not
    allowed.
    """

    def __init__(self, env: gymnasium.Env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        space = env.action_space
        if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            raise TypeError(f"masks are for Discrete and MultiDiscrete actions, got {space}")
        self.size = int(space.n if isinstance(space, spaces.Discrete) else space.nvec.sum())
        own = env.observation_space
        self.nested = isinstance(own, spaces.Dict)
        parts = dict(own.spaces) if isinstance(own, spaces.Dict) else {"obs": own}
        self.observation_space = spaces.Dict({**parts, "action_mask": spaces.MultiBinary(self.size)})

    def _shown(self, obs: Any, info: dict[str, Any]) -> dict[str, Any]:
        if "action_mask" not in info:
            raise ValueError(
                f'{self.env} gives no "action_mask" in info, which has {sorted(info) or "nothing"}'
            )
        mask = np.asarray(info["action_mask"])
        if mask.size != self.size:
            raise ValueError(f"an action mask of shape {mask.shape} for {self.size} actions")
        return {**(obs if self.nested else {"obs": obs}), "action_mask": mask.reshape(-1).astype(np.int8)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._shown(obs, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Move on."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._shown(obs, info), reward, terminated, truncated, info
