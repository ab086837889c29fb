"""Heads of action values in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from ..q_heads import NoisyLinear, QHead, Stream
from .layers import layers_twin

# (x [N, inputs], noise [P]) -> y [N, outputs]
NoisyStep = Callable[[np.ndarray, np.ndarray], np.ndarray]


def noisy_linear_twin(layer: NoisyLinear) -> NoisyStep:
    """Return a noisy layer on the same parameters."""
    mean, deviation = layers_twin(layer.mean), layers_twin(layer.deviation)
    assert mean is not None and deviation is not None
    inputs = layer.sizes[0]
    return lambda x, noise: mean(x) + deviation(x * noise[:inputs]) * noise[inputs:]


def stream_twin(stream: Stream) -> NoisyStep:
    """Return the layers of a stream on the same parameters."""
    if not any(stream.noise_sizes):
        plain = layers_twin(nn.Sequential(*stream.layers))
        assert plain is not None
        return lambda x, noise: plain(x)
    steps: list[tuple[Any, bool]] = []
    for layer in stream.layers:
        step = noisy_linear_twin(layer) if isinstance(layer, NoisyLinear) else layers_twin(layer)
        steps.append((step, isinstance(layer, NoisyLinear)))
    borders = np.cumsum(stream.noise_sizes)[:-1]

    def run(x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        for (step, noisy), own_noise in zip(steps, np.split(noise, borders), strict=True):
            x = step(x, own_noise) if noisy else step(x)
        return x

    return run


def values_twin(head: QHead) -> NoisyStep:
    """Return `(features [N, size], noise) -> values [N, A]` on the same parameters, which lie on the CPU."""
    actions = stream_twin(head.action_stream)
    state = None if head.state_stream is None else stream_twin(head.state_stream)
    if state is None and head.shape[1] == 1:
        return actions
    split, support = head.noise_sizes[0], None if head.support is None else head.support.numpy()

    def run(features: np.ndarray, noise: np.ndarray) -> np.ndarray:
        outputs = actions(features, noise[:split]).reshape(-1, *head.shape)
        if state is not None:
            outputs = outputs - outputs.mean(1, keepdims=True) + state(features, noise[split:])[:, None]
        if support is None:
            return outputs.mean(-1)
        weights = np.exp(outputs - outputs.max(-1, keepdims=True))
        return weights @ support / weights.sum(-1)

    return run
