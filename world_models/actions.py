"""Actions as vectors: one-hot for choices, in units of half their range for Box."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from ..networks.observations import vector
from ..networks.pictures import bounded
from ..networks.vectors import VECTOR_SPACES, flat_size


class ActionEncoder(nn.Module):
    """Vectors `[..., size]` of actions `[..., *shape]`, clipped to the bounds of a Box as the environment does."""

    low: Tensor
    high: Tensor
    center: Tensor
    half_range: Tensor

    def __init__(self, space: spaces.Space):
        super().__init__()
        if not isinstance(space, VECTOR_SPACES):
            raise TypeError(
                "world models take Box, Discrete, MultiDiscrete and MultiBinary actions, "
                f"got {' '.join(str(space).split())}"
            )
        self.size = flat_size(space)
        self.space = space
        self.lead = len(space.shape or ())
        self.is_box = isinstance(space, spaces.Box)
        low, high = torch.full((self.size,), -1.0), torch.full((self.size,), 1.0)
        center, half_range = torch.zeros(self.size), torch.ones(self.size)
        if isinstance(space, spaces.Box):
            low, high = (
                torch.as_tensor(bound.flatten(), dtype=torch.float32) for bound in (space.low, space.high)
            )
            scaled = torch.as_tensor(bounded(space).ravel()) & (high > low)
            center = torch.where(scaled, (low + high) / 2, 0.0)
            half_range = torch.where(scaled, (high - low) / 2, 1.0)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("half_range", half_range, persistent=False)

    def forward(self, action: Tensor) -> Tensor:
        """Encode actions as the environment takes them."""
        lead = action.shape[: action.dim() - self.lead]
        encoded = vector(self.space, action.reshape(-1, *action.shape[len(lead) :]))
        if self.is_box:
            clipped = torch.maximum(torch.minimum(encoded, self.high), self.low)
            encoded = (clipped - self.center) / self.half_range
        return encoded.reshape(*lead, self.size)
