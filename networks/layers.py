"""Layers by name, their initialisation, and their NumPy twins for acting."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Activation = Literal["tanh", "relu", "elu", "silu"]


class Tanh(nn.Module):
    """Hyperbolic tangent by way of the sigmoid (error below 2e-7), which takes torch a third of the time."""

    def forward(self, x: Tensor) -> Tensor:
        """Squash into (-1, 1), element by element."""
        return torch.sigmoid(x * 2) * 2 - 1


ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": Tanh, "relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU}

# Steps that the slowest units of a fresh recurrent memory keep what they saw.
LONGEST_KEPT = 32

# NumPy multiplies larger matrices with all cores, which costs milliseconds where others use them too, and on one
# core takes twice as long as torch. A single row is faster in NumPy at any size.
TORCH_PRODUCT_FROM = 128 * 128

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def orthogonal(layer: Layer, gain: float) -> Layer:
    """Orthogonal weights times `gain`, zero bias (Saxe et al. 2014; gains as in OpenAI's baselines)."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def mlp(sizes: tuple[int, ...], activation: Activation) -> nn.Sequential:
    """Linear layers `sizes[0] -> sizes[1] -> ...`, an activation after each, orthogonal with gain sqrt(2)."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [orthogonal(nn.Linear(inputs, outputs), 2**0.5), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def keeping(size: int) -> Tensor:
    """Biases `[size]` of gates that keep a state: `log U(1, 31)`, so that units forget within 2 to 32 steps.

    Tallec & Ollivier 2018 (arXiv:1804.11188). With biases of zero half of a state is gone after each step, and
    gradients do not reach back far enough to learn to keep it.
    """
    return torch.empty(size).uniform_(1, LONGEST_KEPT - 1).log()


def numpy_affine(weight: Tensor, bias: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """Return `x [N, inputs] -> x weight^T + bias [N, outputs]` on arrays, over the same memory."""
    matrix, shift = weight.detach().numpy().T, bias.detach().numpy()
    # `dot` does the same as `@`, which takes twice as long to begin.
    if matrix.size < TORCH_PRODUCT_FROM:
        return lambda x: x.dot(matrix) + shift
    tensors = bias.detach(), weight.detach().T

    def product(x: np.ndarray) -> np.ndarray:
        if len(x) == 1:
            return x.dot(matrix) + shift
        return torch.addmm(tensors[0], torch.from_numpy(x), tensors[1]).numpy()

    return product


def numpy_layers(layers: nn.Module) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a feed-forward module as a NumPy function over the same memory, or None for unknown layers.

    For the small batches of acting, NumPy costs a third of eager torch. The weights are views: an update in
    place shows at once.
    """
    steps = []
    for _, layer in layers.named_modules(remove_duplicate=False):
        if isinstance(layer, nn.Sequential):
            continue
        step = _numpy_layer(layer)
        if step is None:
            return None
        steps.append(step)

    def run(x: np.ndarray) -> np.ndarray:
        for step in steps:
            x = step(x)
        return x

    return run


def _numpy_layer(layer: nn.Module) -> Callable[[np.ndarray], np.ndarray] | None:
    match layer:
        case nn.Linear() if layer.bias is not None:
            return numpy_affine(layer.weight, layer.bias)
        case nn.LayerNorm(elementwise_affine=True, normalized_shape=(_,)) if layer.bias is not None:
            gain, shift, epsilon = layer.weight.detach().numpy(), layer.bias.detach().numpy(), layer.eps

            def normalize(x: np.ndarray) -> np.ndarray:
                centered = x - x.mean(-1, keepdims=True)
                return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + epsilon) * gain + shift

            return normalize
        case Tanh():
            return np.tanh
        case nn.ReLU():
            return lambda x: np.maximum(x, 0.0)
        case nn.ELU():
            return lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
        case nn.GELU(approximate="tanh"):
            slope = (2 / np.pi) ** 0.5  # a Python number, which leaves float32 as it is
            return lambda x: 0.5 * x * (1 + np.tanh(slope * x * (1 + 0.044715 * x * x)))
        case nn.SiLU():
            return lambda x: x * (0.5 + 0.5 * np.tanh(0.5 * x))  # the sigmoid, without overflow
    return None
