"""Prediction heads: reward of a step, and whether it ended the episode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from ..networks.layers import mlp
from .losses import end_loss, symexp, symlog, two_hot, two_hot_mean
from .scales import divisor

REWARD_BINS = 255


@dataclass(frozen=True)
class PredictionHeadsConfig:
    """Predicting reward and termination."""

    hidden: tuple[Annotated[int, Gt(0)], ...] = (128, 128)
    """Width of each hidden layer, of both heads."""
    reward: Literal["squared", "two_hot"] = "squared"
    """squared: a number, learned by its squared error. two_hot: shares of 255 bins, closest around 0, learned by
    cross-entropy (DreamerV3); for rewards of very different sizes."""
    reward_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the reward's loss beside that of the dynamics."""
    end_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the termination's loss."""
    max_end_weight: Annotated[float, Ge(1)] = 50.0
    """Rare ends count as much as all other steps together, but never more than this many times each."""
    terminal_share: Annotated[float, Interval(ge=0, le=1)] = 0.25
    """Share of the sequences that are chosen because they end in a termination."""


class PredictionHeads(nn.Module):
    """Reward and termination of a step, from what the world model knows of it, `[..., inputs]`.

    Ends are rare, so they are both sampled and weighted more often than they happen. What the network learns is
    therefore too high; `calibrate` shifts its log odds until as many ends are expected as there were.
    """

    reward_center: Tensor
    reward_scale: Tensor
    reward_low: Tensor
    reward_high: Tensor
    end_weight: Tensor
    end_shift: Tensor
    bins: Tensor

    def __init__(self, inputs: int, config: PredictionHeadsConfig):
        super().__init__()
        self.config = config
        self.reward_network = _network(inputs, config, 1 if config.reward == "squared" else REWARD_BINS)
        self.end_network = _network(inputs, config, 1)
        self.register_buffer("bins", symexp(torch.linspace(-1, 1, REWARD_BINS)))
        for name, value in (
            *(("reward_center", 0.0), ("reward_scale", 1.0), ("reward_low", -math.inf)),
            *(("reward_high", math.inf), ("end_weight", 1.0), ("end_shift", 0.0)),
        ):
            self.register_buffer(name, torch.tensor(value))

    @torch.no_grad()
    def fit_scale(self, reward: Tensor, end_rate: float, sampled_end_rate: float) -> None:
        """Measure rewards `[N]`; `end_rate` is the share of real steps that terminate, then that of sampled ones."""
        precise = reward.double()
        scale = precise.std() if len(reward) > 1 else torch.zeros_like(precise[0])
        self.reward_center.copy_(precise.mean())
        self.reward_scale.copy_(divisor(scale, precise.abs().amax()))
        self.reward_low.copy_(reward.min())
        self.reward_high.copy_(reward.max())
        # DreamerV3's reach to 5e8, where a leftover probability of a billionth matters. Here, to the largest reward.
        reach = symlog(reward.abs().max().clamp(min=1e-3)).item()
        self.bins.copy_(symexp(torch.linspace(-reach, reach, REWARD_BINS)))
        self.end_weight.fill_(1.0)
        if 0 < sampled_end_rate < 1:
            balancing = (1 - sampled_end_rate) / sampled_end_rate
            self.end_weight.fill_(min(self.config.max_end_weight, max(1.0, balancing)))
        # Without any end, nothing but the weights' noise would decide.
        self.end_shift.fill_(math.inf if end_rate == 0 else 0.0)

    @torch.no_grad()
    def calibrate(self, logit: Tensor, terminated: Tensor) -> None:
        """Shift `end_logit`'s `[N]` of real steps so that they expect as many ends as there were."""
        if terminated.any():
            self.end_shift += calibrating_shift(logit.double(), int(terminated.sum()))

    def reward(self, x: Tensor) -> Tensor:
        """Expected reward `[...]`, within the range of the rewards learned from."""
        if bool(self.reward_low == self.reward_high):
            return self.reward_center.expand(x.shape[:-1])  # a constant needs no network
        if self.config.reward == "two_hot":
            predicted = two_hot_mean(self.reward_network(x), self.bins)
        else:
            predicted = self.reward_center + self.reward_scale * self.reward_network(x).squeeze(-1)
        return torch.maximum(torch.minimum(predicted, self.reward_high), self.reward_low)

    def end_logit(self, x: Tensor) -> Tensor:
        """Log odds `[...]` that the episode has terminated."""
        return self.end_network(x).squeeze(-1) - self.end_shift

    def reward_loss(self, x: Tensor, reward: Tensor) -> Tensor:
        """Half the squared error `[...]`, in units of the rewards' deviation; or cross-entropy with the two bins."""
        if self.config.reward == "two_hot":
            return -(two_hot(reward, self.bins) * self.reward_network(x).log_softmax(-1)).sum(-1)
        error = self.reward_network(x).squeeze(-1) - (reward - self.reward_center) / self.reward_scale
        return 0.5 * error.square()

    def end_loss(self, x: Tensor, terminated: Tensor) -> Tensor:
        """Weighted cross-entropy `[...]`."""
        return end_loss(self.end_network(x).squeeze(-1), terminated, self.end_weight)


def _network(inputs: int, config: PredictionHeadsConfig, outputs: int) -> nn.Sequential:
    """Hidden layers and outputs that start at zero."""
    layers = mlp((inputs, *config.hidden), "silu")
    last = nn.Linear((inputs, *config.hidden)[-1], outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def calibrating_shift(logit: Tensor, ends: int, ridge: float = 1e-3) -> float:
    """Solve `sum sigmoid(logit - shift) = ends + ridge * shift` for the shift, by halving an interval.

    The left side falls and the right side rises, so there is one solution; the ridge picks a small one where ends
    and other steps are so far apart that many would do.
    """
    low, high = -50.0, 50.0
    for _ in range(60):
        shift = (low + high) / 2
        if (logit - shift).sigmoid().sum().item() > ends + ridge * shift:
            low = shift
        else:
            high = shift
    return shift
