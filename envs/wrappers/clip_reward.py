"""Rewards as their signs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector import EnvStep
from .wrapper import EnvsWrapper


class ClipReward(EnvsWrapper):
    """Steps have the signs of rewards (Mnih et al., 2015); returns of episodes are sums of the whole ones."""

    def step(self, action: Any) -> EnvStep:
        """Execute actions `[B, ...]`."""
        step = self.envs.step(action)
        return step._replace(reward=np.sign(step.reward))
