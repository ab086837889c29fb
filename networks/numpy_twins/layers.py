"""Feed-forward layers in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..layers import Tanh

# A function from `x [N, inputs]` to `[N, outputs]`, on the parameters that torch holds.
ArrayFunction = Callable[[np.ndarray], np.ndarray]

# NumPy multiplies larger matrices with all cores, which costs milliseconds where others use them too, and on one
# core takes twice as long as torch. A single row is faster in NumPy at any size.
TORCH_PRODUCT_FROM = 128 * 128


def affine_twin(weight: Tensor, bias: Tensor) -> ArrayFunction:
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


def layers_twin(layers: nn.Module) -> ArrayFunction | None:
    """Return a feed-forward module as a NumPy function over the same memory, or None for unknown layers.

    For the small batches of acting, NumPy costs a third of eager torch. The weights are views: an update in
    place shows at once.
    """
    steps = []
    for _, layer in layers.named_modules(remove_duplicate=False):
        if isinstance(layer, nn.Sequential):
            continue
        step = layer_twin(layer)
        if step is None:
            return None
        steps.append(step)

    def run(x: np.ndarray) -> np.ndarray:
        for step in steps:
            x = step(x)
        return x

    return run


def layer_twin(layer: nn.Module) -> ArrayFunction | None:
    """One layer as a NumPy function over the same memory, or None for one that is unknown."""
    match layer:
        case nn.Linear() if layer.bias is not None:
            return affine_twin(layer.weight, layer.bias)
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
