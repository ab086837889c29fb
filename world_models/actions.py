"""Actions as vectors: one-hot for choices, in units of half their range for Box."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from ..networks.encoders.mlp import MLP, MLPConfig
from ..networks.observations import VECTOR_SPACES, flat_size


class ActionCoder(nn.Module):
    """Vectors `[..., size]` of actions `[..., *shape]`, clipped to the bounds of a Box as the environment does."""

    low: Tensor
    high: Tensor

    def __init__(self, space: spaces.Space):
        super().__init__()
        if not isinstance(space, VECTOR_SPACES):
            raise TypeError(
                "world models take Box, Discrete, MultiDiscrete and MultiBinary actions, "
                f"got {' '.join(str(space).split())}"
            )
        self.size = flat_size(space)
        # A perceptron without layers only flattens.
        self.flatten = MLP(space, MLPConfig(hidden=()))
        self.lead = len(space.shape or ())
        self.is_box = isinstance(space, spaces.Box)
        low, high = torch.full((self.size,), -1.0), torch.full((self.size,), 1.0)
        if isinstance(space, spaces.Box):
            bounds = (
                torch.as_tensor(bound.flatten(), dtype=torch.float32) for bound in (space.low, space.high)
            )
            low, high = bounds
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, action: Tensor) -> Tensor:
        """Encode actions as the environment takes them."""
        lead = action.shape[: action.dim() - self.lead]
        vector = self.flatten(action.reshape(-1, *action.shape[len(lead) :]))
        if self.is_box:
            vector = torch.maximum(torch.minimum(vector, self.high), self.low)
            bounded = (self.low.isfinite() & self.high.isfinite()) & (self.high > self.low)
            middle = torch.where(bounded, (self.low + self.high) / 2, 0.0)
            half = torch.where(bounded, (self.high - self.low) / 2, 1.0)
            vector = (vector - middle) / half
        return vector.reshape(*lead, self.size)
