"""The transformer in NumPy: one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import numpy as np
from torch import nn

from ..memories.transformer import Block, Gate, Transformer
from .layers import layers_twin
from .memories import MemoryStep


def transformer_twin(memory: Transformer) -> MemoryStep:
    """Return one step."""
    size, past = memory.size, memory.past
    embed, norm = layers_twin(memory.embed), layers_twin(memory.norm)
    assert embed is not None and norm is not None
    blocks = [_block_twin(block) for block in cast(Iterable[Block], memory.blocks)]
    ages = np.arange(past, -1, -1, dtype=np.float32)

    def step(x: np.ndarray, state: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if first.any():
            state = np.where(first[:, None], np.float32(0), state)
        known = state[:, -1:]
        unknown = (ages > known)[:, None]
        caches = state[:, :-1].reshape(len(x), len(blocks), past, size)
        after = np.empty_like(state)
        caches_after = after[:, :-1].reshape(caches.shape)
        x = embed(x)
        for index, block in enumerate(blocks):
            centered = x - x.mean(-1, keepdims=True)
            seen = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + np.float32(1e-5))
            history = np.concatenate([caches[:, index], seen[:, None]], 1)
            caches_after[:, index] = history[:, 1:]
            x = block(x, history, unknown)
        after[:, -1:] = np.minimum(known + 1, past)
        return norm(x), after

    return step


def _block_twin(block: Block) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """One step as a function of `x [B, D]`, `history [B, window, D]` (x itself last) and `unknown [B, 1, window]`.

    With a single query, keys and values need not be computed: `q (K h) = (q K) h`, and the mean of `V h` is V
    times the mean of h. What biases the keys raises all scores alike, which the softmax does not see.
    """
    heads, size = block.heads, block.merge.in_features
    width = size // heads
    query, query_bias = block.query.weight.detach().numpy().T, block.query.bias.detach().numpy()
    key, value = block.key_value.weight.detach().numpy().reshape(2, heads, width, size)
    value, value_bias = value.transpose(0, 2, 1), block.key_value.bias.detach().numpy()[size:]
    nearness = block.bias.detach().numpy()[:, ::-1]
    merge, forward, norm = map(layers_twin, (block.merge, block.feed_forward, block.forward_norm))
    assert merge is not None and forward is not None and norm is not None
    join_attention, join_forward = _join_twin(block.join_attention), _join_twin(block.join_forward)
    scale = np.float32(width**-0.5)

    def step(x: np.ndarray, history: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        asked = (history[:, -1] @ query + query_bias) * scale
        asked = np.matmul(asked.reshape(-1, heads, width).transpose(1, 0, 2), key).transpose(1, 0, 2)
        scores = np.matmul(asked, history.transpose(0, 2, 1)) + nearness
        scores = np.where(unknown, -np.inf, scores)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        means = np.matmul(weights, history).transpose(1, 0, 2)
        y = np.matmul(means, value).transpose(1, 0, 2).reshape(-1, size) + value_bias
        x = join_attention(x, merge(y))
        return join_forward(x, forward(norm(x)))

    return step


def _join_twin(join: nn.Module) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if not isinstance(join, Gate):
        return np.add
    both, new = layers_twin(join.reset_update), layers_twin(join.new)
    assert both is not None and new is not None

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        gates = 0.5 + 0.5 * np.tanh(0.5 * both(np.concatenate([y, x], -1)))
        reset, update = gates[:, : x.shape[1]], gates[:, x.shape[1] :]
        return x + update * (np.tanh(new(np.concatenate([y, reset * x], -1))) - x)

    return run
