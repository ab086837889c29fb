"""Running statistics kept as buffers of the model, so that a checkpoint carries them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningNormalizer(nn.Module):
    """Shift and scale to zero mean and unit variance by the statistics of everything seen by `update`.

    Mean and variance are merged batch by batch (Chan et al. 1979) in float64; `forward` is `(x - mean) / std`,
    clipped to `[-clip, clip]`. Before the first `update` it is the identity (but for the clip).
    """

    mean: Tensor
    variance: Tensor
    count: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], clip: float = 10.0, epsilon: float = 1e-8):
        super().__init__()
        self.clip = clip
        self.epsilon = epsilon
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        # What `forward` uses: float32, and the inverse, so that normalising costs three operations.
        self.register_buffer("shift", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised `x`, shape `[..., *shape]`, float32."""
        return ((x - self.shift) * self.scale).clamp(-self.clip, self.clip)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Merge a batch `[N, *shape]` into the statistics."""
        if len(x) == 0:  # all environments are resetting
            return
        x = x.to(torch.float64)
        total = self.count + len(x)
        delta = x.mean(0) - self.mean
        squares = self.variance * self.count + x.var(0, correction=0) * len(x)
        self.variance.copy_((squares + delta.square() * self.count * len(x) / total) / total)
        self.mean.add_(delta * len(x) / total)
        self.count.copy_(total)
        self.shift.copy_(self.mean)
        self.scale.copy_((self.variance + self.epsilon).rsqrt())


class RewardScaler(nn.Module):
    """Divide rewards by the running standard deviation of the discounted return of each environment.

    The mean is kept: shifting rewards would change which policy is best wherever an episode's length depends
    on it. Engstrom et al. 2020, "Implementation matters in deep policy gradients", section 2.
    """

    statistics: RunningNormalizer
    returns: Tensor

    def __init__(self, gamma: float, clip: float = 10.0):
        super().__init__()
        self.gamma = gamma
        self.clip = clip
        self.statistics = RunningNormalizer(())
        self.register_buffer("returns", torch.zeros(0))

    @torch.no_grad()
    def forward(self, reward: Tensor, done: Tensor, valid: Tensor | None = None) -> Tensor:
        """Update with a rollout `[T, B]` of rewards and episode ends, and return it scaled and clipped."""
        if len(self.returns) != reward.shape[1]:
            self.returns = reward.new_zeros(reward.shape[1])
        running = torch.empty_like(reward)
        for t in range(len(reward)):
            self.returns = self.returns * self.gamma + reward[t]
            running[t] = self.returns
            self.returns = self.returns * ~done[t]
        self.statistics.update(running.flatten() if valid is None else running[valid])
        return (reward * self.statistics.scale).clamp(-self.clip, self.clip)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):  # type: ignore[no-untyped-def]
        # The number of environments is only known from the first rollout, or from the checkpoint.
        self.returns = torch.zeros_like(state_dict[prefix + "returns"])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
