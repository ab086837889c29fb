"""Action masks that an environment gives in `info`, as a part of observations."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs


class ShowActionMask(gymnasium.Wrapper, RecordConstructorArgs):
    """Copies which actions are allowed from `info["action_mask"]` into the observation, where agents look for it.

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

    def _with_mask(self, obs: Any, info: dict[str, Any]) -> dict[str, Any]:
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
        return self._with_mask(obs, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Move on."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._with_mask(obs, info), reward, terminated, truncated, info
