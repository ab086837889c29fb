"""Batches of a replay memory: single transitions, or windows for an agent's memory to be unrolled over."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...networks.torso import Torso, pick
from ...networks.tree import tree_map, write_rows
from .replay import Replay
from .sequences import padding_index, to_tensor, to_tensors


class TransitionBatch(NamedTuple):
    """Transitions `[N, ...]`, tensors; a target is `reward + discount * value(next_obs)`."""

    obs: Any
    action: Tensor
    reward: Tensor
    discount: Tensor
    next_obs: Any
    weights: Tensor
    """Importance weights."""
    noise: Any = None
    """Random numbers for the agent's loss, where it needs any."""

    def features(self, torso: Torso, memory: int = 0) -> Tensor:
        """Features `[N, F]` of the observations."""
        return torso.single_step(self.obs)

    def next_features(self, torso: Torso, memory: int = 0) -> Tensor:
        """Features `[N, F]` of their successors."""
        return torso.single_step(self.next_obs)


class WindowBatch(NamedTuple):
    """Windows, tensors: `M` rows to unroll in each of `K` columns, with `N = L * K` steps to learn from."""

    obs: Any
    """`[M, K, ...]`"""
    first: Tensor
    """`[M, K]`"""
    states: tuple[Tensor, ...]
    """Memories `[K, S]` before the first row, one for each torso of the agent."""
    learn_rows: Tensor
    """Rows `[L, K]` of the steps to learn from."""
    bootstrap_rows: Tensor
    """Rows `[L, K]` of the successors in their targets."""
    action: Tensor
    """`[N, ...]`, as are reward, discount and weights."""
    reward: Tensor
    discount: Tensor
    weights: Tensor
    """Importance weights; 0 for what is not to be learned from."""
    noise: Any = None
    """Random numbers for the agent's loss, where it needs any."""

    def features(self, torso: Torso, memory: int = 0) -> Tensor:
        """Features `[N, F]` of the steps to learn from, unrolled from the memory of that number on."""
        return self._unroll(torso, memory, self.learn_rows)

    def next_features(self, torso: Torso, memory: int = 0) -> Tensor:
        """Features `[N, F]` of their successors."""
        return self._unroll(torso, memory, self.bootstrap_rows)

    def _unroll(self, torso: Torso, memory: int, rows: Tensor) -> Tensor:
        features, _ = torso(self.obs, self.states[memory], self.first)
        return pick(features, rows).flatten(0, 1)


class Sample(NamedTuple):
    """What a gradient step learns from, and where it lies in the replay."""

    batch: TransitionBatch | WindowBatch
    indices: np.ndarray
    """Slots `[N]`."""
    counted: Any
    """Index of those of them that have weight."""


class ReplayWindows(NamedTuple):
    """Sampled windows of consecutive steps, NumPy arrays; a target is `reward + discount * value[bootstrap_rows]`.

    Each of the K columns holds `M` rows to unroll: first the burn-in, then the `L` steps to learn from, then the
    successors in their targets. After a step whose episode was truncated, and after the last, comes its true successor.
    """

    obs: Any
    """`[M, K, ...]`"""
    first: np.ndarray
    """`[M, K]`: this row opens an episode."""
    state: np.ndarray
    """The agent's memory `[K, S]` before the first row; zero where none is kept."""
    learn_rows: np.ndarray
    """Rows `[L, K]` of the steps to learn from."""
    bootstrap_rows: np.ndarray
    """Rows `[L, K]` of the successors in their targets."""
    action: np.ndarray
    """`[L, K, ...]`, as are reward and discount."""
    reward: np.ndarray
    discount: np.ndarray
    indices: np.ndarray
    """Slots `[L, K]` of the steps in the replay, for `update_priorities`."""
    weights: np.ndarray
    """Importance weights `[L, K]`; 0 for what is not to be learned from."""

    def batch(self, torsos: list[Torso], noise: np.ndarray | None, device: torch.device) -> WindowBatch:
        """The windows on the device; their `state` is that of the torsos side by side."""
        bounds = np.cumsum([torso.replayed_size for torso in torsos])[:-1]
        states = zip(torsos, np.split(self.state, bounds, 1), strict=True)
        steps = (self.action, self.reward, self.discount, self.weights)
        action, reward, discount, weights = (to_tensor(x, device).flatten(0, 1) for x in steps)
        return WindowBatch(
            obs=to_tensors(self.obs, device),
            first=to_tensor(self.first, device),
            states=tuple(torso.replayed_state(to_tensor(state, device)) for torso, state in states),
            learn_rows=to_tensor(self.learn_rows, device),
            bootstrap_rows=to_tensor(self.bootstrap_rows, device),
            action=action,
            reward=reward,
            discount=discount,
            weights=weights,
            noise=None if noise is None else to_tensor(noise, device),
        )


def sample_windows(
    replay: Replay, count: int, length: int, burn_in: int, generator: np.random.Generator, beta: float = 1.0
) -> ReplayWindows:
    """Draw `count` windows of `length` steps to learn from, after `burn_in` steps that only fill the memory.

    A window begins where a transition would: where it reaches beyond the newest step it is shorter, and where
    the ring does not reach back far enough its burn-in is.
    """
    slots, weights = replay.draw(count, generator, beta)
    columns, rows = slots % replay.num_envs, slots // replay.num_envs
    oldest = (replay.position - replay.size) % replay.rows
    age = (rows - oldest) % replay.rows  # steps since the oldest
    available = np.minimum(burn_in, age)

    # Steps in a row from the burn-in on; those beyond the newest step repeat it and count for nothing.
    span = burn_in + length + replay.n_step - 1
    steps = np.arange(span)[:, None] + (age - available)
    inside = steps < replay.size
    path = (np.minimum(steps, replay.size - 1) + oldest) % replay.rows * replay.num_envs + columns
    # A true successor of its own follows each step that does not continue.
    ends = inside & ~replay.continues[path]
    ends[-1] = True
    row_of = np.arange(span)[:, None] + np.cumsum(ends, 0) - ends

    lengths, across = row_of[-1] + 2, np.arange(count)
    total = int(lengths.max())
    source = np.zeros((total, count), np.int64)
    source[row_of, across] = path
    first = np.zeros((total, count), bool)
    first[row_of, across] = replay.first[path] & inside
    index = np.nonzero(ends)
    row, column, parent = row_of[index] + 1, index[1], path[index]
    source[row, column] = replay.successors(parent)
    source = source[padding_index(lengths, total)]
    obs = tree_map(lambda x: x.reshape(*source.shape, *x.shape[1:]), replay.obs_at(source.ravel()))
    end = replay.end[parent]
    if (own := end >= 0).any():
        write_rows(obs, (row[own], column[own]), tree_map(lambda x: x[end[own]], replay.ends.rows))

    learn = available + np.arange(length)[:, None]
    indices, counts = path[learn, across], inside[learn, across]
    reward, discount, last = (x.reshape(length, count) for x in replay.n_step_returns(indices.ravel()))
    reach = (last - indices) // replay.num_envs % replay.rows
    return ReplayWindows(
        obs=obs,
        first=first,
        state=replay.state[path[0]],
        learn_rows=row_of[learn, across],
        bootstrap_rows=row_of[learn + reach, across] + 1,
        action=replay.action[indices],
        reward=reward,
        discount=discount,
        indices=indices,
        weights=weights * (counts & replay.valid[indices]),
    )
