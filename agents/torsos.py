"""What all agents do with their torsos: act with them, begin their memories, feed their normalisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..networks.numpy_twins.acting import NumpyStep, make_step, torso_twin
from ..networks.numpy_twins.q_heads import values_twin
from ..networks.q_heads import QNetwork
from ..networks.torso import Torso
from ..networks.tree import tree_map
from .storage.sequences import to_tensor, to_tensors

# (obs [B, ...], state [B, S], first [B], noise [P]) -> (values [B, A], next state [B, S]); all NumPy
ValueStep = Callable[[Any, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def initial_state(torsos: list[Torso], num_envs: int) -> np.ndarray:
    """Memories `[num_envs, S]` of some torsos side by side, before any observation."""
    return torch.cat([torso.initial_state(num_envs) for torso in torsos], 1).cpu().numpy()


def make_joint_step(torsos: list[Torso], head: nn.Module, device: torch.device) -> NumpyStep:
    """Return a step of the first torso and its head that carries on the memories of the others.

    The state `[B, S]` is that of all torsos side by side, as in `initial_state`.
    """
    forward = make_step(torsos[0], head, device)
    if not any(torso.has_memory for torso in torsos[1:]):
        return forward
    carry_on = [make_step(torso, nn.Sequential(), device) for torso in torsos[1:]]
    bounds = np.cumsum([torso.state_size for torso in torsos])[:-1]

    def step(obs: Any, state: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        states = np.split(state, bounds, 1)
        outputs, next_state = forward(obs, states[0], first)
        others = [other(obs, own, first)[1] for other, own in zip(carry_on, states[1:], strict=True)]
        return outputs, np.concatenate([next_state, *others], 1)

    return step


def make_value_step(network: QNetwork, device: torch.device) -> ValueStep:
    """Return a step from observations to action values: all of it in NumPy, or all of it in torch."""
    torso, head = network.torso, network.head
    numpy_torso = torso_twin(torso) if device.type == "cpu" else None
    if numpy_torso is not None:
        numpy_head = values_twin(head)

        def numpy_step(
            obs: Any, state: np.ndarray, first: np.ndarray, noise: np.ndarray
        ) -> tuple[np.ndarray, np.ndarray]:
            features, next_state = numpy_torso(obs, state, first)
            return numpy_head(features, noise), next_state

        return numpy_step

    @torch.inference_mode()
    def torch_step(
        obs: Any, state: np.ndarray, first: np.ndarray, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        inputs = tree_map(lambda x: torch.as_tensor(x, device=device), (obs, first))
        chunk, starts = tree_map(lambda x: x[None], inputs)
        with torso.acting():
            features, next_state = torso(chunk, torch.as_tensor(state, device=device), starts)
        values = head.values(head(features[0], torch.as_tensor(noise, device=device)))
        return values.cpu().numpy(), next_state.cpu().numpy()

    return torch_step


class Normalizers:
    """The running statistics of some torsos: every valid observation enters each of them once."""

    def __init__(self, torsos: list[Torso], device: torch.device):
        # A shared torso is listed twice, and fed once.
        self.torsos = [torso for torso in dict.fromkeys(torsos) if torso.has_statistics]
        self.device = device

    def update(self, obs: Any, valid: np.ndarray | None) -> None:
        """Feed the valid rows of observations `[B, ...]` or `[T, B, ...]`, arrays or tensors; None: all are valid."""
        if not self.torsos:
            return
        obs = to_tensors(obs, self.device)
        if valid is not None:
            obs = tree_map(lambda x: x.flatten(0, valid.ndim - 1), obs)
            if not valid.all():
                chosen = to_tensor(valid.ravel(), self.device)
                obs = tree_map(lambda x: x[chosen], obs)
        for torso in self.torsos:
            torso.update_statistics(obs)
