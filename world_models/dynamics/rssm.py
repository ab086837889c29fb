"""Recurrent state-space model: a GRU and categorical latents (DreamerV3, Hafner et al. 2023, arXiv:2301.04104)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from ...networks.layers import mlp
from ...networks.means import masked_mean
from ..losses import categorical_kl, free_bits
from ..world_model import Dynamics, DynamicsPrediction, Sampling


@dataclass(frozen=True)
class RSSMConfig:
    """Recurrent state-space model."""

    deterministic: Annotated[int, Gt(0)] = 128
    """Width of the GRU."""
    groups: Annotated[int, Gt(0)] = 8
    """Categorical variables of a step."""
    classes: Annotated[int, Gt(1)] = 8
    """Values of each."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (128,)
    """Width of each hidden layer of prior, posterior and decoder."""
    latent_std: Annotated[float, Gt(0)] = 0.1
    """Deviation of what is decoded, in units of the latent's own; DreamerV3's 1 leaves small states blurred."""
    unimix: Annotated[float, Interval(ge=0, lt=1)] = 0.01
    """Share of the uniform distribution in every categorical: no class is ever impossible."""
    free_nats: Annotated[float, Ge(0)] = 1.0
    """A step's divergence below this costs nothing."""
    dynamics_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the divergence that draws the prior to the posterior."""
    representation_weight: Annotated[float, Ge(0)] = 0.1
    """Weight of the divergence that draws the posterior to the prior."""


class RSSMState(NamedTuple):
    """Parts of the state that goes from step to step."""

    deterministic: Tensor
    """The GRU's state, `[N, D]`."""
    stochastic: Tensor
    """Classes of the step that begins, `[N, groups * classes]`."""
    chosen: Tensor
    """`[N, 1]`: 1 where a dream has drawn them, 0 where they follow from the real latent."""


class RSSM(Dynamics):
    """Dreams go on from the memory alone, not from the decoded latent; a latent enters the memory when it is real.

    `h' = GRU(h, z, a)`, prior `p(z' | h')`, posterior `q(z' | h', latent')`, latent decoded from `(h', z')`. Rewards
    and ends are predicted from `(h', z')` too, beside the inputs that all heads have.
    """

    Config = RSSMConfig
    sequence_length = 32

    def __init__(self, latent_size: int, action_size: int, config: RSSMConfig):
        super().__init__(latent_size, action_size)
        self.config = config
        size, width = config.deterministic, config.groups * config.classes
        self.feature_size = size + width
        self.state_size = self.feature_size + 1
        self.cell = nn.GRUCell(width + action_size, size)
        self.prior = _network(size, config.hidden, width)
        self.posterior = _network(size + latent_size, config.hidden, width)
        self.decoder = _network(self.feature_size, config.hidden, latent_size)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Categoricals `[..., groups, classes]`, mixed with the uniform one, of logits `[..., groups * classes]`."""
        config = self.config
        softmax = logits.unflatten(-1, (config.groups, config.classes)).softmax(-1)
        return (1 - config.unimix) * softmax + config.unimix / config.classes

    def prior_probabilities(self, deterministic: Tensor) -> Tensor:
        """Prior, without the step's latent: `[..., D]` to `[..., groups, classes]`."""
        return self.probabilities(self.prior(deterministic))

    def posterior_probabilities(self, deterministic: Tensor, latent: Tensor) -> Tensor:
        """Posterior, from the step's latent `[..., Z]` too."""
        scaled = (latent - self.center) / self.deviation
        return self.probabilities(self.posterior(torch.cat([deterministic, scaled], -1)))

    def decode_latent(self, features: Tensor) -> Tensor:
        """Latents `[..., Z]` in units of their deviation."""
        return self.decoder(features)

    def loss(
        self,
        latent: Tensor,
        action: Tensor,
        next_latent: Tensor,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Reconstruction of the next latent (a Gaussian without its constant) and the two divergences, in nats."""
        config = self.config
        h = latent.new_zeros(mask.shape[1], config.deterministic)
        z = draw(self.posterior_probabilities(h, latent[0]), generator)
        memories, priors, posteriors, samples = [], [], [], []
        for t in range(len(mask)):
            h = self.cell(torch.cat([z, action[t]], -1), h)
            posterior = self.posterior_probabilities(h, next_latent[t])
            z = draw(posterior, generator)
            memories.append(h)
            priors.append(self.prior_probabilities(h))
            posteriors.append(posterior)
            samples.append(z)
        prior, posterior = torch.stack(priors), torch.stack(posteriors)
        features = torch.cat([torch.stack(memories), torch.stack(samples)], -1)
        target = (next_latent - self.center) / self.deviation
        error = (self.decode_latent(features) - target).square()
        reconstruction = masked_mean(0.5 * error.sum(-1) / config.latent_std**2, mask)
        # Balanced: the prior learns faster than the posterior gives in.
        dynamics = free_bits(categorical_kl(posterior.detach(), prior), config.free_nats)
        representation = free_bits(categorical_kl(posterior, prior.detach()), config.free_nats)
        divergence = config.dynamics_weight * dynamics + config.representation_weight * representation
        loss = reconstruction + masked_mean(divergence, mask)
        kl = masked_mean(categorical_kl(posterior, prior), mask)
        metrics = {"loss/dynamics": loss, "loss/latent": reconstruction, "loss/kl": kl}
        return loss, metrics | {"dynamics/squared_error": masked_mean(error.mean(-1), mask)}, features

    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling) -> DynamicsPrediction:
        """Dream one step: from the memory where it has chosen its classes, from the latent where that is real."""
        memory = self._next_deterministic(latent, action, state)
        prior = self.prior_probabilities(memory)
        z = choose(prior, sampling)
        features = torch.cat([memory, z], -1)
        following = self.center + self.deviation * self.decode_latent(features)
        following = torch.maximum(torch.minimum(following, self.high), self.low)
        state = torch.cat([features, features.new_ones(len(features), 1)], -1)
        return DynamicsPrediction(following, state, features, latent.new_zeros(len(latent)))

    def observe(self, latent: Tensor, action: Tensor, state: Tensor) -> Tensor:
        """Memory after a real step; the next latent will be real, too."""
        memory = self._next_deterministic(latent, action, state)
        rest = memory.new_zeros(memory.shape[0], self.state_size - memory.shape[1])
        return torch.cat([memory, rest], -1)

    def _next_deterministic(self, latent: Tensor, action: Tensor, state: Tensor) -> Tensor:
        """The GRU's state after a step; of a real latent, its input is the posterior's probabilities."""
        memory = self.unpack(state)
        inferred = choose(self.posterior_probabilities(memory.deterministic, latent), Sampling())
        z = torch.where(memory.chosen > 0.5, memory.stochastic, inferred)
        return self.cell(torch.cat([z, action], -1), memory.deterministic)

    def unpack(self, state: Tensor) -> RSSMState:
        """Parts of a memory `[N, S]`."""
        size = self.config.deterministic
        return RSSMState(*state.split([size, self.state_size - size - 1, 1], -1))


def _network(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    return nn.Sequential(*mlp((inputs, *hidden), "silu"), nn.Linear((inputs, *hidden)[-1], outputs))


def draw(probabilities: Tensor, generator: torch.Generator | None) -> Tensor:
    """One-hot samples `[N, groups * classes]` whose gradient is that of their probabilities (straight through)."""
    rows = probabilities.detach().flatten(0, -2)
    index = torch.multinomial(rows, 1, generator=generator)
    sample = torch.zeros_like(rows).scatter_(1, index, 1.0).view_as(probabilities)
    return (sample + (probabilities - probabilities.detach())).flatten(-2)


def choose(probabilities: Tensor, sampling: Sampling) -> Tensor:
    """Classes `[N, groups * classes]` of a dream: one-hot, and the likeliest at temperature 0.

    Without a generator it is their mean, the probabilities: where classes are uncertain, the likeliest of every group
    are together a combination that may never occur.
    """
    if sampling.generator is None:
        return probabilities.flatten(-2)
    if sampling.temperature == 0:
        index = probabilities.argmax(-1, keepdim=True)
        return torch.zeros_like(probabilities).scatter_(-1, index, 1.0).flatten(-2)
    tempered = (probabilities.log() / max(sampling.temperature, 1e-6)).softmax(-1)
    return draw(tempered, sampling.generator)
