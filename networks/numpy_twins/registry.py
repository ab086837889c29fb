"""Which components have a NumPy twin. One without acts through torch, which is slower for small networks only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..encoders.mlp import MLP
from ..memories.gru import GRU
from ..memories.lstm import LSTM
from ..memories.none import NoMemory
from ..memories.transformer import Transformer
from .encoders import mlp_twin
from .memories import gru_twin, lstm_twin, none_twin
from .transformer import transformer_twin

# From a class to what makes the twin of one of its instances: of an encoder a function from observations `[N, ...]` to
# features `[N, size]`, of a memory one step `(x [B, D], state [B, S], first [B]) -> (y [B, size], next state)`, None
# where an instance has none. Twins work on views of the parameters, so that updates in place show at once.
TWINS: dict[type[nn.Module], Callable[[Any], Callable[..., Any] | None]] = {
    MLP: mlp_twin,
    NoMemory: none_twin,
    LSTM: lstm_twin,
    GRU: gru_twin,
    Transformer: transformer_twin,
}


def find_twin(module: nn.Module) -> Callable[..., Any] | None:
    """Return the NumPy twin of a component, None where there is none; a subclass has none of its parent's."""
    make = TWINS.get(type(module))
    return None if make is None else make(module)
