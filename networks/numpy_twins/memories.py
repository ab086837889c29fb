"""Memories in NumPy: one step (T = 1, no time axis), `(x [B, D], state [B, S], first [B]) -> (y, next state)`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..memories.gru import GRU
from ..memories.lstm import LSTM
from ..memories.none import NoMemory
from .layers import affine_twin, layers_twin

MemoryStep = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def none_twin(memory: NoMemory) -> MemoryStep:
    """Return the identity."""
    return lambda x, state, first: (x, state)


def lstm_twin(memory: LSTM) -> MemoryStep:
    """Return one step."""
    size, readout = memory.hidden, layers_twin(memory.readout)
    assert readout is not None
    into, back = affine_twin(memory.into, memory.bias), affine_twin(memory.back, memory.bias_back)
    # All gates by one tanh, sigmoid(x) = (1 + tanh(x / 2)) / 2, except what is new, which is a tanh itself.
    slope = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), size)
    shift = 1 - slope

    def step(x: np.ndarray, state: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        state = np.where(first[:, None], np.float32(0), state)
        gates = np.tanh((into(x) + back(state[:, :size])) * slope) * slope + shift
        enter, forget, new, leave = gates.reshape(-1, 4, size).swapaxes(0, 1)
        cell = forget * state[:, size:] + enter * new
        output = leave * np.tanh(cell)
        return readout(output), np.concatenate([output, cell], 1)

    return step


def gru_twin(memory: GRU) -> MemoryStep:
    """Return one step."""
    size, readout = memory.state_size, layers_twin(memory.readout)
    assert readout is not None
    into, back = affine_twin(memory.into, memory.bias), affine_twin(memory.back, memory.bias_back)

    def step(x: np.ndarray, state: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        state = np.where(first[:, None], np.float32(0), state)
        fresh, old = into(x), back(state)
        # sigmoid(x) = (1 + tanh(x / 2)) / 2
        gates = 0.5 + 0.5 * np.tanh(0.5 * (fresh[:, : 2 * size] + old[:, : 2 * size]))
        reset, update = gates[:, :size], gates[:, size:]
        new = np.tanh(fresh[:, 2 * size :] + reset * old[:, 2 * size :])
        after = new + update * (state - new)
        return readout(after), after

    return step
