"""Encoders in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..encoders.mlp import MLP
from ..normalize import RunningNormalizer
from ..vectors import numpy_flatten
from .layers import layers_twin


def mlp_twin(encoder: MLP) -> Callable[[Any], np.ndarray] | None:
    """Features `[N, size]` of observations `[N, ...]`; None where a layer has no twin."""
    layers, flat = layers_twin(encoder.layers), numpy_flatten(encoder.space)
    if layers is None:
        return None
    if not isinstance(encoder.normalize, RunningNormalizer):
        return lambda obs: layers(flat(obs))
    shift, scale, clip = (
        encoder.normalize.shift.numpy(),
        encoder.normalize.scale.numpy(),
        encoder.normalize.clip,
    )
    return lambda obs: layers(np.clip((flat(obs) - shift) * scale, -clip, clip))
