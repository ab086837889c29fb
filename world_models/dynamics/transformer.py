"""Dynamics by a causal transformer over the last steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ...networks.means import masked_mean
from ..losses import gaussian_nll, soft_clamp
from ..old_keys import accept_old_key
from ..world_model import Dynamics, DynamicsPrediction, Sampling


@dataclass(frozen=True)
class TransformerDynamicsConfig:
    """Causal transformer."""

    context: Annotated[int, Gt(0)] = 16
    """Steps that it attends to."""
    size: Annotated[int, Gt(0)] = 64
    """Width."""
    layers: Annotated[int, Gt(0)] = 2
    """Blocks of attention and perceptron."""
    heads: Annotated[int, Gt(0)] = 4
    """Attention heads; they share the width."""

    def __post_init__(self) -> None:
        if self.size % self.heads:
            raise ValueError(f"size: must be a multiple of heads ({self.heads}), got {self.size}")


class Block(nn.Module):
    """Attention, then a perceptron, each on a normalised input and added to it (pre-LN)."""

    def __init__(self, size: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_perceptron = nn.LayerNorm(size), nn.LayerNorm(size)
        self.queries_keys_values, self.mixed = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.perceptron = nn.Sequential(nn.Linear(size, 4 * size), nn.SiLU(), nn.Linear(4 * size, size))

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Map `x [N, L, D]`; `allowed [N or 1, 1, L, L]` says which keys a query attends to."""
        count, length, size = x.shape
        parts = self.queries_keys_values(self.before_attention(x))
        parts = parts.reshape(count, length, 3, self.heads, size // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        x = x + self.mixed(attended.transpose(1, 2).reshape(count, length, size))
        return x + self.perceptron(self.before_perceptron(x))


class TransformerDynamics(Dynamics):
    """Gaussian change from the last `context` steps, which are the memory: `[N, context * (Z + A) + 1]`.

    The last number is how many of them are real. Sequences for learning are as long as the context, so that in a
    dream the network computes nothing that it has not learned.
    """

    Config = TransformerDynamicsConfig

    def __init__(self, latent_size: int, action_size: int, config: TransformerDynamicsConfig):
        super().__init__(latent_size, action_size)
        self.config = config
        self.token_size = latent_size + action_size
        self.state_size = config.context * self.token_size + 1
        self.feature_size = config.size
        self.sequence_length = config.context
        self.embed = nn.Linear(self.token_size, config.size)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(config.context, config.size))
        self.blocks = nn.ModuleList(Block(config.size, config.heads) for _ in range(config.layers))
        self.last = nn.LayerNorm(config.size)
        self.change_head = nn.Linear(config.size, 2 * latent_size)
        accept_old_key(self, "place", "position_embedding")

    def features(self, tokens: Tensor, length: Tensor) -> Tensor:
        """Features `[N, L, D]` of tokens `[N, L, Z + A]`, the last `length [N]` of which are real."""
        width = tokens.shape[1]
        slots = torch.arange(width, device=tokens.device)
        # Position 0 is that of the oldest real step.
        position = (slots - (width - length).unsqueeze(-1)).clamp(min=0)
        x = self.embed(tokens) + self.position_embedding[position]
        real = slots >= (width - length).unsqueeze(-1)
        causal = slots[:, None] >= slots[None, :]
        # Padding attends to itself: a softmax over nothing would be NaN.
        allowed = (causal & real[:, None, :]) | torch.eye(width, dtype=torch.bool, device=tokens.device)
        for block in self.blocks:
            x = block(x, allowed[:, None])
        return self.last(x)

    def predict(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the change, `[..., Z]` each."""
        mean, log_variance = self.change_head(features).chunk(2, -1)
        return mean, soft_clamp(log_variance, -10.0, 4.0)

    def loss(
        self,
        latent: Tensor,
        action: Tensor,
        next_latent: Tensor,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Likelihood of the changes of sequences no longer than the context."""
        tokens = self.inputs(latent, action).transpose(0, 1)
        length = torch.full((tokens.shape[0],), tokens.shape[1], device=tokens.device)
        features = self.features(tokens, length).transpose(0, 1)
        mean, log_variance = self.predict(features)
        target = self.target(latent, next_latent)
        nll = masked_mean(gaussian_nll(target, mean, log_variance), mask)
        error = masked_mean((mean - target).square().mean(-1), mask)
        return nll, {"loss/dynamics": nll, "dynamics/squared_error": error}, features

    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling) -> DynamicsPrediction:
        """Push a step into the memory and predict what follows it."""
        count = latent.shape[0]
        tokens = state[:, :-1].reshape(count, self.config.context, self.token_size)
        tokens = torch.cat([tokens[:, 1:], self.inputs(latent, action).unsqueeze(1)], 1)
        length = (state[:, -1] + 1).clamp(max=self.config.context)
        features = self.features(tokens, length.long())[:, -1]
        change, log_variance = self.predict(features)
        if sampling.generator is not None:
            noise = torch.randn(change.shape, generator=sampling.generator, device=change.device)
            change = change + noise * (0.5 * log_variance).exp() * sampling.temperature**0.5
        state = torch.cat([tokens.flatten(1), length.unsqueeze(-1)], -1)
        return DynamicsPrediction(self.advance(latent, change), state, features, latent.new_zeros(count))
