"""Ensemble of probabilistic networks (PETS, Chua et al. 2018; MBPO, Janner et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import silu

from ...networks.means import masked_mean
from ..losses import gaussian_nll, soft_clamp
from ..world_model import Dynamics, DynamicsPrediction, Sampling

# Rows that all members predict at once.
ROWS = 4096


@dataclass(frozen=True)
class EnsembleConfig:
    """Ensemble of probabilistic networks."""

    members: Annotated[int, Gt(0)] = 7
    """Networks that learn."""
    elites: Annotated[int, Gt(0)] = 5
    """How many of them dream: the best on held-out steps."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (128, 128)
    """Width of each hidden layer."""

    def __post_init__(self) -> None:
        if self.elites > self.members:
            raise ValueError(f"elites: must be at most members ({self.members}), got {self.elites}")


class MemberLinear(nn.Module):
    """A linear layer for each of E members at once, `[E, N, in] -> [E, N, out]`."""

    def __init__(self, members: int, inputs: int, outputs: int):
        super().__init__()
        # As in PETS: a truncated normal of deviation 1 / (2 sqrt(inputs)).
        weight = torch.empty(members, inputs, outputs)
        std = 0.5 * inputs**-0.5
        self.weight = nn.Parameter(nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """One product for all members, or for the chosen ones `[C]`."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if chosen is not None:
            weight, bias = weight.index_select(0, chosen), bias.index_select(0, chosen)
        return torch.baddbmm(bias, x, weight)


class Ensemble(Dynamics):
    """Each member predicts mean and variance of the change; no memory.

    The variance is the noise of the world, the members' disagreement what they have not learned. While
    learning, every member gets a share of the batch of its own; a dream draws a member for every step.
    """

    Config = EnsembleConfig

    def __init__(self, latent_size: int, action_size: int, config: EnsembleConfig):
        super().__init__(latent_size, action_size)
        self.config = config
        self.members = config.members
        self.choices = config.elites
        sizes = (latent_size + action_size, *config.hidden)
        self.layers = nn.ModuleList(
            MemberLinear(config.members, inputs, outputs)
            for inputs, outputs in pairwise((*sizes, 2 * latent_size))
        )
        self.highest = nn.Parameter(torch.full((latent_size,), 0.5))
        self.lowest = nn.Parameter(torch.full((latent_size,), -10.0))
        self.register_buffer("elites", torch.arange(config.elites))

    elites: Tensor

    def predict(self, x: Tensor, chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the change, `[E, N, Z]` each, for inputs `[E, N, Z + A]`."""
        for layer in self.layers[:-1]:
            x = silu(layer(x, chosen))
        mean, log_variance = self.layers[-1](x, chosen).chunk(2, -1)
        return mean, soft_clamp(log_variance, self.lowest, self.highest)

    def loss(
        self,
        latent: Tensor,
        action: Tensor,
        next_latent: Tensor,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Gaussian likelihood of the change; the bounds of the variance are drawn together by a small force."""
        x = self.inputs(latent, action).flatten(0, 1)
        target = self.target(latent, next_latent).flatten(0, 1)
        shares, targets, valid = (self._shares(tensor) for tensor in (x, target, mask.flatten()))
        mean, log_variance = self.predict(shares)
        nll = masked_mean(gaussian_nll(targets, mean, log_variance), valid)
        loss = nll + 0.01 * (self.highest.sum() - self.lowest.sum())
        error = masked_mean((mean - targets).square().mean(-1), valid)
        features = latent.new_zeros(*mask.shape, 0)
        return loss, {"loss/dynamics": nll, "dynamics/squared_error": error}, features

    def _shares(self, x: Tensor) -> Tensor:
        """Rows `[N, ...]` dealt out to the members, `[E, N // E, ...]`; all of them to each when judging."""
        rows = len(x) // self.members
        if not self.training or rows == 0:
            return x.unsqueeze(0).expand(self.members, *x.shape)
        return x[: rows * self.members].reshape(self.members, rows, *x.shape[1:])

    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling) -> DynamicsPrediction:
        """Draw a member and a change from it; without a generator, the mean of all means."""
        x, none = self.inputs(latent, action), latent.new_zeros(len(latent), 0)
        generator, count = sampling.generator, len(x)
        if generator is not None and sampling.member is None and not sampling.disagreement:
            change = self._deal(x, generator, sampling)
            return DynamicsPrediction(self.advance(latent, change), state, none, latent.new_zeros(count))
        mean, log_variance = self.predict(x.expand(len(self.elites), *x.shape), self.elites)
        disagreement = (mean - mean.mean(0)).square().mean((0, 2)).sqrt()
        if generator is None:
            change = mean.mean(0)
        else:
            member = sampling.member
            if member is None:
                member = torch.randint(len(self.elites), (count,), generator=generator, device=x.device)
            rows = torch.arange(count, device=x.device)
            change = _draw(mean[member, rows], log_variance[member, rows], sampling)
        return DynamicsPrediction(self.advance(latent, change), state, none, disagreement)

    def _deal(self, x: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor:
        """Changes `[N, Z]`, every row from one elite: rows are shuffled and dealt out equally."""
        members, count = len(self.elites), len(x)
        order = torch.randperm(count, generator=generator, device=x.device)
        each = -(-count // members)
        filled = order.repeat(-(-members * each // count))[: members * each]
        # Members are shuffled as well: where rows do not divide, no member always gets more.
        chosen = self.elites[torch.randperm(members, generator=generator, device=x.device)]
        dealt = self.predict(x.index_select(0, filled).view(members, each, -1), chosen)
        mean, log_variance = (part.flatten(0, 1)[:count] for part in dealt)
        change = _draw(mean, log_variance, sampling)
        return torch.empty_like(change).index_copy_(0, order, change)

    @torch.no_grad()
    def choose_members(self, latent: Tensor, action: Tensor, next_latent: Tensor) -> None:
        """Choose the members whose means are best on held-out steps `[N, ...]`, a part of them at a time."""
        error = latent.new_zeros(self.members)
        steps = (latent.split(ROWS), action.split(ROWS), next_latent.split(ROWS))
        for some, actions, successors in zip(*steps, strict=True):
            x = self.inputs(some, actions)
            mean, _ = self.predict(x.expand(self.members, *x.shape))
            error += (mean - self.target(some, successors)).square().mean(2).sum(1)
        self.elites.copy_(error.argsort()[: self.config.elites])


def _draw(mean: Tensor, log_variance: Tensor, sampling: Sampling) -> Tensor:
    """A sample of Gaussians `[N, Z]`; the temperature is a factor of their variances."""
    noise = torch.randn(mean.shape, generator=sampling.generator, device=mean.device)
    return torch.addcmul(mean, noise, (0.5 * log_variance).exp_(), value=sampling.temperature**0.5)
