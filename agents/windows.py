"""Windows of consecutive steps from a replay memory, laid out so that a memory can be unrolled over them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..networks.tree import tree_map, write_rows
from .replay import Replay


class Windows(NamedTuple):
    """Sampled windows of consecutive steps, NumPy arrays; a target is `reward + discount * value[boot]`.

    Each of the N columns holds `M` rows to unroll: first the burn-in, then the `L` steps to learn from, then what
    their targets look at. After a step whose episode was cut short, and after the last, comes its true successor.
    """

    obs: Any
    """`[M, N, ...]`"""
    first: np.ndarray
    """`[M, N]`: this row opens an episode."""
    state: np.ndarray
    """The agent's memory `[N, S]` before the first row; zero where none is kept."""
    at: np.ndarray
    """Rows `[L, N]` of the steps to learn from."""
    boot: np.ndarray
    """Rows `[L, N]` of the successors that their targets look at."""
    action: np.ndarray
    """`[L, N, ...]`, as are reward and discount."""
    reward: np.ndarray
    discount: np.ndarray
    indices: np.ndarray
    """Where the steps `[L, N]` lie, for `update_priorities`."""
    weights: np.ndarray
    """Importance weights `[L, N]`; 0 for what is not to be learned from."""


def sample_windows(
    replay: Replay, count: int, length: int, burn_in: int, generator: np.random.Generator, beta: float = 1.0
) -> Windows:
    """Draw `count` windows of `length` steps to learn from, after `burn_in` steps that only fill the memory.

    A window begins where a transition would: where it reaches beyond the newest step it is shorter, and where
    the ring does not reach back far enough its burn-in is.
    """
    slots, weights = replay.draw(count, generator, beta)
    columns, rows = slots % replay.num_envs, slots // replay.num_envs
    oldest = (replay.position - replay.size) % replay.rows
    age = (rows - oldest) % replay.rows  # steps since the oldest
    burnt = np.minimum(burn_in, age)

    # Steps in a row from the burn-in on; those beyond the newest step stay at it and count for nothing.
    span = burn_in + length + replay.n_step - 1
    steps = np.arange(span)[:, None] + (age - burnt)
    inside = steps < replay.size
    path = (np.minimum(steps, replay.size - 1) + oldest) % replay.rows * replay.num_envs + columns
    # A true successor of its own follows each step that does not continue.
    apart = inside & ~replay.continues[path]
    apart[-1] = True
    place = np.arange(span)[:, None] + np.cumsum(apart, 0) - apart

    total, across = int(place.max()) + 2, np.arange(count)
    source = np.zeros((total, count), np.int64) + path[0]
    source[place, across] = path
    first = np.zeros((total, count), bool)
    first[place, across] = replay.first[path] & inside
    where = np.nonzero(apart)
    row, column, parent = place[where] + 1, where[1], path[where]
    source[row, column] = replay.successors(parent)
    obs = tree_map(lambda x: x.take(source, 0), replay.obs)
    end = replay.end[parent]
    if (own := end >= 0).any():
        write_rows(obs, (row[own], column[own]), tree_map(lambda x: x[end[own]], replay.ends.rows))

    learn = burnt + np.arange(length)[:, None]
    indices, counts = path[learn, across], inside[learn, across]
    reward, discount, last = (x.reshape(length, count) for x in replay.n_step_returns(indices.ravel()))
    reach = (last - indices) // replay.num_envs % replay.rows
    return Windows(
        obs=obs,
        first=first,
        state=replay.state[path[0]],
        at=place[learn, across],
        boot=place[learn + reach, across] + 1,
        action=replay.action[indices],
        reward=reward,
        discount=discount,
        indices=indices,
        weights=weights * (counts & replay.valid[indices]),
    )
