"""One step of a torso and a last layer from NumPy to NumPy, by the faster of two ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..torso import Torso
from ..tree import tree_map
from .layers import layers_twin
from .registry import find_twin

# A network run in NumPy on the parameters that torch holds: (obs [B, ...], state [B, S], first [B]) -> the same.
NumpyStep = Callable[[Any, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def make_step(torso: Torso, layers: nn.Module, device: torch.device) -> NumpyStep:
    """Return `(obs [B, ...], state [B, S], first [B]) -> (outputs [B, K], next state)`, all NumPy.

    Small networks on the CPU run in NumPy, on views of the same parameters (so they must already lie where
    they will stay, and be updated in place); everything else runs in torch.
    """
    numpy_torso = torso_twin(torso)
    head = layers_twin(layers) if device.type == "cpu" else None
    if numpy_torso is not None and head is not None:

        def numpy_step(obs: Any, state: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            features, state = numpy_torso(obs, state, first)
            return head(features), state

        return numpy_step

    @torch.inference_mode()
    def torch_step(obs: Any, state: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tensors = tree_map(lambda x: torch.as_tensor(x, device=device)[None], obs)
        starts = torch.as_tensor(first, device=device)[None]
        with torso.acting():
            features, new_state = torso(tensors, torch.as_tensor(state, device=device), starts)
        return layers(features[0]).cpu().numpy(), new_state.cpu().numpy()

    return torch_step


def torso_twin(torso: Torso) -> NumpyStep | None:
    """One step `[B, ...]` in NumPy, or None where a part has no twin or the weights are not on the CPU."""
    if any(tensor.device.type != "cpu" for tensor in torso.state_dict().values()):
        return None
    encode, memory_step = find_twin(torso.encoder), find_twin(torso.memory)
    if encode is None or memory_step is None:
        return None
    return lambda obs, state, first: memory_step(encode(obs), state, first)
