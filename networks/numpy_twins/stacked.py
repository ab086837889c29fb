"""Small networks of the same shape, run side by side in NumPy: one stacked product a layer instead of one for each.

The weights are copies `[S, outputs, inputs]`, which `refresh` takes anew after an update: for networks that act
small, a few microseconds. The layout is that of torch, so that each slice is the product that the network alone makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from ..encoders.mlp import MLP
from ..memories.none import NoMemory
from ..normalize import RunningNormalizer
from ..q_heads import QHead
from ..torso import Torso
from ..vectors import numpy_flatten
from .layers import TORCH_PRODUCT_FROM, affine_twin, layer_twin

# (x [S, N, inputs]) -> [S, N, outputs]
StackedFunction = Callable[[np.ndarray], np.ndarray]


class Stack:
    """Arrays that lie in several networks, copied side by side."""

    def __init__(self) -> None:
        self.copies: list[tuple[np.ndarray, list[np.ndarray]]] = []

    def add(self, tensors: Sequence[torch.Tensor]) -> np.ndarray:
        """Return `[S, ...]`, a copy of tensors on the CPU that `refresh` keeps up to date."""
        sources = [tensor.detach().numpy() for tensor in tensors]
        copy = np.stack(sources)
        self.copies.append((copy, sources))
        return copy

    def refresh(self) -> None:
        """Copy what the networks hold now."""
        for copy, sources in self.copies:
            np.stack(sources, out=copy)


def stacked_layers(stack: Stack, modules: Sequence[nn.Module]) -> StackedFunction | None:
    """Feed-forward modules of one shape as a function of `[S, N, inputs]`; None where a layer is unknown."""
    leaves = [
        [m for _, m in module.named_modules(remove_duplicate=False) if not isinstance(m, nn.Sequential)]
        for module in modules
    ]
    steps = [_stacked_layer(stack, layers) for layers in zip(*leaves, strict=True)]
    return None if any(step is None for step in steps) else _in_turn(steps)  # type: ignore[arg-type]


def _in_turn(steps: list[StackedFunction]) -> StackedFunction:
    def run(x: np.ndarray) -> np.ndarray:
        for step in steps:
            x = step(x)
        return x

    return run


def _stacked_layer(stack: Stack, layers: Sequence[nn.Module]) -> StackedFunction | None:
    first = layers[0]
    match first:
        case nn.Linear() if first.bias is not None:
            if first.weight.numel() >= TORCH_PRODUCT_FROM:
                # Nothing is gained by one call for all.
                twins = [affine_twin(layer.weight, layer.bias) for layer in layers]  # type: ignore[arg-type]
                return lambda x: np.stack([twin(rows) for twin, rows in zip(twins, x, strict=True)])
            weight = stack.add([layer.weight for layer in layers]).transpose(0, 2, 1)  # type: ignore[misc]
            bias = stack.add([layer.bias for layer in layers])[:, None]  # type: ignore[misc]
            return lambda x: np.matmul(x, weight) + bias
        case nn.LayerNorm(elementwise_affine=True, normalized_shape=(_,)) if first.bias is not None:
            gain = stack.add([layer.weight for layer in layers])[:, None]  # type: ignore[misc]
            shift, epsilon = stack.add([layer.bias for layer in layers])[:, None], first.eps  # type: ignore[misc]

            def normalize(x: np.ndarray) -> np.ndarray:
                centered = x - x.mean(-1, keepdims=True)
                return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + epsilon) * gain + shift

            return normalize
    # What is left has no parameters, and sees no seeds.
    return layer_twin(first) if not list(first.parameters()) else None


def stacked_torso(stack: Stack, torsos: Sequence[Torso]) -> Callable[[np.ndarray], np.ndarray] | None:
    """Features `[S, N, size]` of observations `[S * N, ...]`, of perceptrons without a memory; None for others."""
    encoders = [torso.encoder for torso in torsos]
    first = encoders[0]
    if type(first) is not MLP or type(torsos[0].memory) is not NoMemory:
        return None
    layers, flat = stacked_layers(stack, [encoder.layers for encoder in encoders]), numpy_flatten(first.space)  # type: ignore[misc]
    if layers is None:
        return None
    count = len(torsos)
    if not isinstance(first.normalize, RunningNormalizer):
        return lambda obs: layers(flat(obs).reshape(count, -1, flat_width(first)))
    normalizers = [encoder.normalize for encoder in encoders]
    clip = first.normalize.clip

    def normalized(obs: np.ndarray) -> np.ndarray:
        # Statistics may change with every step.
        shift = np.stack([each.shift.numpy() for each in normalizers])[:, None]  # type: ignore[operator, union-attr]
        scale = np.stack([each.scale.numpy() for each in normalizers])[:, None]  # type: ignore[operator, union-attr]
        x = flat(obs).reshape(count, -1, shift.shape[-1])
        return layers(np.clip((x - shift) * scale, -clip, clip))

    return normalized


def flat_width(encoder: MLP) -> int:
    """Inputs of a perceptron."""
    linear = next((layer for layer in encoder.layers if isinstance(layer, nn.Linear)), None)
    return encoder.size if linear is None else linear.in_features


def stacked_values(stack: Stack, heads: Sequence[QHead]) -> StackedFunction | None:
    """Features `[S, N, size]` to action values `[S, N, A]`; None for noisy layers, each of which has its own noise."""
    first = heads[0]
    if first.noise_size:
        return None
    actions = stacked_layers(stack, [nn.Sequential(*head.action_stream.layers) for head in heads])
    state = None
    if first.state_stream is not None:
        state = stacked_layers(stack, [nn.Sequential(*head.state_stream.layers) for head in heads])  # type: ignore[union-attr]
    if actions is None or (state is None and first.state_stream is not None):
        return None
    if state is None and first.shape[1] == 1:
        return actions
    support = None if first.support is None else first.support.numpy()

    def run(features: np.ndarray) -> np.ndarray:
        outputs = actions(features)
        outputs = outputs.reshape(*outputs.shape[:2], *first.shape)
        if state is not None:
            outputs = outputs - outputs.mean(2, keepdims=True) + state(features)[:, :, None]
        if support is None:
            return outputs.mean(-1)
        weights = np.exp(outputs - outputs.max(-1, keepdims=True))
        return weights @ support / weights.sum(-1)

    return run
