"""Adversarial dynamics: changes that a critic cannot tell from real ones (WGAN-GP, Gulrajani et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.func import functional_call

from ...networks.layers import mlp
from ...networks.means import masked_mean
from ...networks.optimizer import Paced
from ..losses import energy_score
from ..world_model import Dynamics, DynamicsPrediction, Sampling

# Draws by which held-out steps are judged, and whose mean is the expected step.
DRAWS = 16


@dataclass(frozen=True)
class AdversarialConfig:
    """Adversarial dynamics."""

    hidden: tuple[Annotated[int, Gt(0)], ...] = (128, 128)
    """Width of each hidden layer, of generator and critic."""
    noise_size: Annotated[int, Gt(0)] = 8
    """Random numbers that a change is made of, beside latent and action."""
    gradient_penalty: Annotated[float, Ge(0)] = 1.0
    """Weight of how far the critic's slope is from 1."""
    critic_pace: Annotated[float, Gt(0)] = 3.0
    """The critic's step size, as a share of the learning rate."""
    generator_pace: Annotated[float, Gt(0)] = 0.6
    """The generator's; the critic must be ahead (Heusel et al. 2017)."""


class Adversarial(Dynamics, Paced):
    """A generator makes a change of latent, action and noise; a critic scores changes, given latent and action.

    Both learn in the same optimiser step: the critic from changes whose gradient is stopped, the generator through a
    critic whose parameters stand still. Neither loss says how good the model is, so held-out steps are judged by the
    energy score of its draws. No memory.
    """

    Config = AdversarialConfig
    # With momentum, generator and critic would circle around each other; as in WGAN-GP's own code.
    betas = (0.0, 0.9)

    def __init__(self, latent_size: int, action_size: int, config: AdversarialConfig):
        super().__init__(latent_size, action_size)
        self.config = config
        inputs = latent_size + action_size
        self.generator = _network(inputs + config.noise_size, config, latent_size)
        self.critic = _network(inputs + latent_size, config, 1)
        # What the expected step is a mean over, and held-out steps are judged by: the same draws always.
        self.register_buffer("draws", torch.randn(DRAWS, config.noise_size))

    draws: Tensor

    def paces(self) -> Mapping[nn.Parameter, float]:
        """Generator and critic take steps of their own sizes."""
        generator = dict.fromkeys(self.generator.parameters(), self.config.generator_pace)
        return generator | dict.fromkeys(self.critic.parameters(), self.config.critic_pace)

    def loss(
        self,
        latent: Tensor,
        action: Tensor,
        next_latent: Tensor,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The critic's loss and the generator's, while they learn; of held-out steps the energy score."""
        x, target = self.inputs(latent, action), self.target(latent, next_latent)
        features = latent.new_zeros(*mask.shape, 0)
        if not self.training:
            made = self._some(x)
            score = masked_mean(energy_score(target, made), mask)
            error = masked_mean((made.mean(0) - target).square().mean(-1), mask)
            return score, {"loss/dynamics": score, "dynamics/squared_error": error}, features
        made = self._made(x, self._noise(x, generator))
        distance, critic_loss = self._critic_loss(x, target, made.detach(), mask, generator)
        still = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        score = functional_call(self.critic, still, (torch.cat([x, made], -1),)).squeeze(-1)
        generator_loss = -masked_mean(score, mask)
        error = masked_mean((made - target).square().mean(-1), mask)
        metrics = {
            "loss/dynamics": distance,
            "loss/critic": critic_loss,
            "loss/generator": generator_loss,
            "dynamics/squared_error": error,
        }
        return critic_loss + generator_loss, metrics, features

    def _critic_loss(
        self, x: Tensor, real: Tensor, made: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """The distance that the critic sees between real and made changes, and its loss."""
        share = torch.rand(*mask.shape, 1, generator=generator, device=x.device)

        def score(change: Tensor) -> Tensor:
            return self.critic(torch.cat([x, change], -1)).squeeze(-1)

        distance = masked_mean(score(real) - score(made), mask)
        between = (share * real + (1 - share) * made).requires_grad_()
        penalty = masked_mean(gradient_penalty(score(between), between), mask)
        return distance, self.config.gradient_penalty * penalty - distance

    def _noise(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        shape = (*x.shape[:-1], self.config.noise_size)
        return torch.randn(shape, generator=generator, device=x.device)

    def _made(self, x: Tensor, noise: Tensor) -> Tensor:
        """Changes for inputs `[..., Z + A]`, in units of a typical one."""
        return self.generator(torch.cat([x, noise], -1))

    def _some(self, x: Tensor) -> Tensor:
        """Changes `[DRAWS, ..., Z]` of the draws that are always the same."""
        return torch.stack([self._made(x, draw.expand(*x.shape[:-1], -1)) for draw in self.draws])

    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling) -> DynamicsPrediction:
        """Draw noise of the temperature's variance; without a generator, the mean of some fixed draws."""
        x, count = self.inputs(latent, action), len(latent)
        if sampling.generator is None:
            change = self._some(x).mean(0)
        else:
            change = self._made(x, self._noise(x, sampling.generator) * sampling.temperature**0.5)
        none = latent.new_zeros(count, 0)
        return DynamicsPrediction(self.advance(latent, change), state, none, latent.new_zeros(count))


def _network(inputs: int, config: AdversarialConfig, outputs: int) -> nn.Sequential:
    sizes = (inputs, *config.hidden)
    return nn.Sequential(*mlp(sizes, "silu"), nn.Linear(sizes[-1], outputs))


def gradient_penalty(score: Tensor, x: Tensor) -> Tensor:
    """`(|d score / d x| - 1)^2` of every row: scores `[...]` of `x [..., D]`, each of its own row only.

    The root has a small constant under it: its slope at 0 is infinite.
    """
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return ((gradient.square().sum(-1) + 1e-12).sqrt() - 1).square()
