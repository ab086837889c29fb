"""Memories at one step (T = 1, no time axis), on tensors: what `Memory.forward` does there, and nothing else.

`forward` unrolls whole chunks: it looks for episode starts, which an exported graph cannot do, and computes keys and
values of a transformer anew for every query. The twins in NumPy (`networks/numpy_twins/`) do the same sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from ...networks.memories.gru import GRU
from ...networks.memories.lstm import LSTM
from ...networks.memories.none import NoMemory
from ...networks.memories.transformer import Block, Transformer
from ...networks.torso import Memory


class MemoryStep(nn.Module):
    """`(x [B, D], state [B, S], first [B]) -> (y [B, size], next state)` of a memory."""

    def __init__(self, memory: Memory):
        super().__init__()
        self.memory = memory

    def forward(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """One step; what `state` holds where `first` does not matter."""
        match self.memory:
            case NoMemory():
                return x, state
            case LSTM():
                return lstm_step(self.memory, x, begun(state, first))
            case GRU():
                return gru_step(self.memory, x, begun(state, first))
            case Transformer():
                return transformer_step(self.memory, x, begun(state, first))
        y, state = self.memory(x.unsqueeze(0), state, first.unsqueeze(0))
        return y.squeeze(0), state


def begun(state: Tensor, first: Tensor) -> Tensor:
    """The state `[B, S]` with zeros where an episode begins."""
    return torch.where(first.unsqueeze(-1), torch.zeros_like(state), state)


def lstm_step(memory: LSTM, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Gates in torch's order: input, forget, cell, output."""
    output, cell = state.split(memory.hidden, -1)
    gates = nn.functional.linear(x, memory.into, memory.bias)
    gates = gates + nn.functional.linear(output, memory.back, memory.bias_back)
    enter, forget, new, leave = gates.split(memory.hidden, -1)
    cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
    output = leave.sigmoid() * cell.tanh()
    return memory.readout(output), torch.cat([output, cell], -1)


def gru_step(memory: GRU, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Gates in torch's order: reset, update, new."""
    size = memory.state_size
    fresh = nn.functional.linear(x, memory.into, memory.bias)
    old = nn.functional.linear(state, memory.back, memory.bias_back)
    fresh_gates, fresh_new = fresh.split([2 * size, size], -1)
    old_gates, old_new = old.split([2 * size, size], -1)
    reset, update = (fresh_gates + old_gates).sigmoid().split(size, -1)
    new = (fresh_new + reset * old_new).tanh()
    after = new + update * (state - new)
    return memory.readout(after), after


def transformer_step(memory: Transformer, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """What each block saw moves on by one step."""
    past, count = memory.past, len(memory.blocks)
    known = state[:, -1:]
    unknown = (
        torch.arange(past, -1, -1, dtype=torch.float32) > known
    )  # [B, window]; the present one is always known
    caches = state[:, :-1].unflatten(1, (count, past, memory.size))
    x, after = memory.embed(x), []
    for index, block in enumerate(cast(Iterable[Block], memory.blocks)):
        seen = block.attention_norm(x)
        history = torch.cat([caches[:, index], seen.unsqueeze(1)], 1)
        after.append(history[:, 1:].flatten(1))
        x = _attend(block, x, seen, history, unknown)
    return memory.norm(x), torch.cat([*after, (known + 1).clamp(max=past)], -1)


def _attend(block: Block, x: Tensor, seen: Tensor, history: Tensor, unknown: Tensor) -> Tensor:
    """One query `seen [B, D]` against `history [B, window, D]`.

    With a single query, keys and values need not be computed: `q (K h) = (q K) h`, and the mean of `V h` is V times the
    mean of h. What biases the keys raises all scores alike, which the softmax does not see.
    """
    heads, size = block.heads, block.merge.in_features
    width = size // heads
    key, value = block.key_value.weight.reshape(2, heads, width, size).unbind()
    query = block.query(seen).unflatten(-1, (heads, 1, width)) * width**-0.5
    asked = (query @ key).squeeze(2)  # [B, heads, D]
    scores = asked @ history.transpose(1, 2) + block.bias.flip(-1)
    weights = scores.masked_fill(unknown.unsqueeze(1), -torch.inf).softmax(-1)
    means = (weights @ history).unsqueeze(2)  # [B, heads, 1, D]
    y = (means @ value.transpose(1, 2)).flatten(1) + block.key_value.bias[size:]
    x = block.join_attention(x, block.merge(y))
    return block.join_forward(x, block.feed_forward(block.forward_norm(x)))
