"""A causal transformer over the last steps of the episode (Parisotto et al. 2020, arXiv:1910.06764)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, cast

import torch
from annotated_types import Gt
from torch import Tensor, nn

from ..torso import Memory

# Steps that are unrolled at once. Attention among them costs their square, so a long rollout goes piece by piece.
PIECE = 128


@dataclass(frozen=True)
class TransformerConfig:
    """Causal transformer."""

    size: Annotated[int, Gt(0)] = 64
    """Width of the residual stream and of the output."""
    layers: Annotated[int, Gt(0)] = 2
    """Blocks of attention and feed-forward network."""
    heads: Annotated[int, Gt(0)] = 4
    """Attention heads; they share the width."""
    window: Annotated[int, Gt(1)] = 32
    """Steps that each block looks at, the present one among them; together they reach layers * (window - 1) back."""
    hidden: Annotated[int, Gt(0)] = 128
    """Width of the feed-forward networks."""
    gated: bool = False
    """Gates in place of residual sums, which start near the identity (GTrXL)."""

    def __post_init__(self) -> None:
        if self.size % self.heads:
            raise ValueError(f"heads: must divide size {self.size}, got {self.heads}")


class Transformer(Memory):
    """Norms first, learned biases for relative positions; one attention call a block for each piece of a chunk.

    The state `[B, layers * (window - 1) * size + 1]` is what each block saw in the last `window - 1` steps, normalised,
    and how many of these belong to the running episode. So what comes out of a chunk does not depend on how it is cut.
    """

    Config = TransformerConfig
    replayed = False

    def __init__(self, input_size: int, config: TransformerConfig):
        super().__init__()
        self.size, self.past = config.size, config.window - 1
        self.state_size = config.layers * self.past * config.size + 1
        self.embed = nn.Linear(input_size, config.size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.size)

    def forward(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Unroll a chunk `[T, B, D]`, in a time that grows with T."""
        outputs = []
        for piece, opens in zip(x.split(PIECE), first.split(PIECE), strict=True):
            output, state = self._unroll(piece, state, opens)
            outputs.append(output)
        return torch.cat(outputs), state

    def _unroll(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """The same with all steps at once."""
        length, num_envs = first.shape
        caches = state[:, :-1].reshape(num_envs, len(self.blocks), self.past, self.size)
        known = state[:, -1].round()
        may_see, distance = self._visible(first, known)

        x = self.embed(x).transpose(0, 1)
        history_after = []
        for index, block in enumerate(cast(Iterable[Block], self.blocks)):
            seen = block.attention_norm(x)
            history = torch.cat([caches[:, index], seen], 1)
            history_after.append(history[:, length:])
            x = block(x, seen, history, may_see, distance)
        steps = torch.arange(1, length + 1, device=x.device).unsqueeze(-1)
        opened = (steps * first).amax(0)  # 1 + the row of the last episode start; 0 where there is none
        known = torch.where(opened > 0, length + 1 - opened, known + length).clamp(max=self.past)
        # What is not known is zero: nothing of an earlier episode stays behind.
        kept = torch.arange(self.past, 0, -1, device=x.device) <= known.unsqueeze(-1)
        caches = torch.stack(history_after, 1) * kept[:, None, :, None]
        after = torch.cat([caches.flatten(1), known.unsqueeze(-1)], -1)
        return self.norm(x).transpose(0, 1), after

    def _visible(self, first: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the past and new steps each new one may see `[B, T, past + T]`, and how far back they lie."""
        length = len(first)
        times = torch.arange(-self.past, length, device=first.device)
        distance = times[self.past :].unsqueeze(-1) - times
        near = (distance >= 0) & (distance <= self.past)
        episode = first.cumsum(0).T
        is_known = times[: self.past] >= -known.unsqueeze(-1)
        # Steps before the chunk belong to its episode 0, if they are known at all.
        past_episode = torch.where(is_known, 0, -1)
        same = episode.unsqueeze(-1) == torch.cat([past_episode, episode], 1).unsqueeze(1)
        return near & same, distance.clamp(0, self.past)


class Block(nn.Module):
    """Attention over the window, then a feed-forward network."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        size = config.size
        self.heads = config.heads
        # What follows is linear and needs no scale and shift of the norm; so caches do not depend on parameters here.
        self.attention_norm = nn.LayerNorm(size, elementwise_affine=False)
        self.forward_norm = nn.LayerNorm(size)
        self.query, self.key_value = nn.Linear(size, size), nn.Linear(size, 2 * size)
        self.bias = nn.Parameter(torch.zeros(config.heads, config.window))
        self.merge = nn.Linear(size, size)
        self.feed_forward = nn.Sequential(
            nn.Linear(size, config.hidden), nn.GELU(approximate="tanh"), nn.Linear(config.hidden, size)
        )
        join = Gate if config.gated else Sum
        self.join_attention, self.join_forward = join(size), join(size)

    def forward(self, x: Tensor, seen: Tensor, history: Tensor, may_see: Tensor, distance: Tensor) -> Tensor:
        """`x [B, T, D]`, normalised `seen [B, T, D]`, which looks at `history [B, past + T, D]`."""
        query = self._split(self.query(seen))
        key, value = map(self._split, self.key_value(history).chunk(2, -1))
        bias = self.bias[:, distance].masked_fill(~may_see.unsqueeze(1), -torch.inf)
        y = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = self.join_attention(x, self.merge(y.transpose(1, 2).flatten(2)))
        return self.join_forward(x, self.feed_forward(self.forward_norm(x)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Sum(nn.Module):
    """Residual sum."""

    def __init__(self, size: int):
        super().__init__()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Put `x` and what was computed from it together."""
        return x + y


class Gate(nn.Module):
    """GRU-style gate of GTrXL (section 3.2); the bias of 2 starts it near `x`."""

    def __init__(self, size: int):
        super().__init__()
        self.reset_update = nn.Linear(2 * size, 2 * size)
        self.new = nn.Linear(2 * size, size)
        with torch.no_grad():
            self.reset_update.bias[size:] -= 2.0

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Put `x` and what was computed from it together."""
        reset, update = self.reset_update(torch.cat([y, x], -1)).sigmoid().chunk(2, -1)
        new = self.new(torch.cat([y, reset * x], -1)).tanh()
        return x + update * (new - x)
