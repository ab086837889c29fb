"""Layers by name, and their initialisation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, TypeVar

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

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


# Networks hold networks that are made in the same way: a thread may come here again.
_initializing = threading.RLock()


@contextmanager
def initialized(seed: int) -> Iterator[None]:
    """Make networks here whose initial weights follow from a seed alone; torch's own generator is left as it was.

    PyTorch's initialisers draw from that one, which all threads share, so one thread comes here at a time.
    """
    with _initializing, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def orthogonal(layer: Layer, gain: float) -> Layer:
    """Orthogonal weights times `gain`, zero bias (Saxe et al. 2014; gains as in OpenAI's baselines)."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def mlp(sizes: tuple[int, ...], activation: Activation, orthogonal_init: bool = True) -> nn.Sequential:
    """Linear layers `sizes[0] -> sizes[1] -> ...`, an activation after each.

    Their weights are orthogonal with gain sqrt(2), or PyTorch's own, which are less than half as large.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layer = nn.Linear(inputs, outputs)
        layers += [orthogonal(layer, 2**0.5) if orthogonal_init else layer, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def keeping(size: int) -> Tensor:
    """Biases `[size]` of gates that keep a state: `log U(1, 31)`, so that units forget within 2 to 32 steps.

    Tallec & Ollivier 2018 (arXiv:1804.11188). With biases of zero half of a state is gone after each step, and
    gradients do not reach back far enough to learn to keep it.
    """
    return torch.empty(size).uniform_(1, LONGEST_KEPT - 1).log()
