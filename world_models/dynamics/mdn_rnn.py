"""MDN-RNN: an LSTM that predicts a mixture of Gaussians (Ha & Schmidhuber 2018, arXiv:1803.10122, section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from ...networks.means import masked_mean
from ..losses import mixture_nll, soft_clamp
from ..world_model import Dynamics, DynamicsPrediction, Sampling


@dataclass(frozen=True)
class MDNRNNConfig:
    """Mixture density LSTM."""

    hidden_size: Annotated[int, Gt(0)] = 256
    """Width of the LSTM."""
    components: Annotated[int, Gt(0)] = 5
    """Gaussians in the mixture."""


class MDNRNN(Dynamics):
    """One LSTM, one linear layer: weights, means and variances of a mixture over the whole change."""

    Config = MDNRNNConfig
    sequence_length = 32

    def __init__(self, latent_size: int, action_size: int, config: MDNRNNConfig):
        super().__init__(latent_size, action_size)
        self.config = config
        self.state_size = 2 * config.hidden_size
        self.feature_size = config.hidden_size
        self.lstm = nn.LSTM(latent_size + action_size, config.hidden_size)
        self.mixture = nn.Linear(config.hidden_size, config.components * (2 * latent_size + 1))

    def unroll(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs `[T, B, H]` for inputs `[T, B, Z + A]`, and the memory after them."""
        hidden, cell = state.chunk(2, -1)
        y, (hidden, cell) = self.lstm(x, (hidden[None].contiguous(), cell[None].contiguous()))
        return y, torch.cat([hidden[0], cell[0]], -1)

    def predict(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits `[..., K]`, means and log variances `[..., K, Z]` of the change."""
        count, size = self.config.components, self.latent_size
        logits, mean, log_variance = self.mixture(features).split([count, count * size, count * size], -1)
        shape = (*features.shape[:-1], count, size)
        return logits, mean.reshape(shape), soft_clamp(log_variance.reshape(shape), -10.0, 4.0)

    def loss(
        self,
        latent: Tensor,
        action: Tensor,
        next_latent: Tensor,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Likelihood of the changes of a sequence."""
        features, _ = self.unroll(self.inputs(latent, action), self.initial_state(mask.shape[1]))
        logits, mean, log_variance = self.predict(features)
        target = self.target(latent, next_latent)
        nll = masked_mean(mixture_nll(target, logits, mean, log_variance), mask)
        expected = (logits.softmax(-1).unsqueeze(-1) * mean).sum(-2)
        error = masked_mean((expected - target).square().mean(-1), mask)
        return nll, {"loss/dynamics": nll, "dynamics/squared_error": error}, features

    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling) -> DynamicsPrediction:
        """Draw a component, then a change from it; without a generator, the mean of the mixture."""
        features, state = self.unroll(self.inputs(latent, action)[None], state)
        logits, mean, log_variance = self.predict(features[0])
        change = draw_from_mixture(logits, mean, log_variance, sampling)
        return DynamicsPrediction(
            self.advance(latent, change), state, features[0], latent.new_zeros(latent.shape[0])
        )


def draw_from_mixture(logits: Tensor, mean: Tensor, log_variance: Tensor, sampling: Sampling) -> Tensor:
    """Values `[N, Z]` of mixtures `[N, K]` of Gaussians `[N, K, Z]`; temperature as in sketch-RNN.

    Logits are divided by the temperature, variances multiplied with it; without a generator it is the mean.
    """
    if sampling.generator is None:
        return (logits.softmax(-1).unsqueeze(-1) * mean).sum(-2)
    probabilities = (logits / max(sampling.temperature, 1e-6)).softmax(-1)
    component = torch.multinomial(probabilities, 1, generator=sampling.generator).squeeze(-1)
    rows = torch.arange(len(logits), device=logits.device)
    noise = torch.randn(mean[:, 0].shape, generator=sampling.generator, device=mean.device)
    spread = (0.5 * log_variance[rows, component]).exp() * sampling.temperature**0.5
    return mean[rows, component] + noise * spread
