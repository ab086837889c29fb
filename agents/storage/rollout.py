"""A rollout: the steps between two updates, preallocated, time-major, typed as the environment gives it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...networks.tree import tree_leaves, tree_map, write_rows
from ..agent import StepStore, Store, Transition
from ..schedules import Obstacle
from .sequences import Sequence, storage_dtype


class Rollout(StepStore):
    """`length` consecutive steps of all environments, `[T, B, ...]`, filled in place.

    Each observation is stored once: the successor of row `t` is row `t + 1`, except where an episode was truncated
    and after the last row. Those successors are in `ends` and `last_obs`. The memory is kept before every
    `state_every`-th step only: windows of so many steps are learned from.
    """

    obs: Any
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    first: np.ndarray
    valid: np.ndarray
    state: np.ndarray
    last_obs: Any
    last_state: np.ndarray
    newest_state: np.ndarray  # before the newest row

    def __init__(self, length: int, state_every: int = 1):
        self.length = length
        self.state_every = state_every
        self.size = 0
        # (row, environment, true successor, memory after the step) of every episode end that was a truncation
        self.ends: list[tuple[int, int, Any, np.ndarray]] = []

    def _allocate(self, transition: Transition) -> None:
        def rows(x: np.ndarray) -> np.ndarray:
            return np.zeros((self.length, *x.shape), storage_dtype(x.dtype))

        self.obs = tree_map(rows, transition.obs)
        self.last_obs = tree_map(lambda x: x[0].copy(), self.obs)
        self.action = rows(transition.action)
        self.last_state = np.zeros(transition.state.shape, storage_dtype(transition.state.dtype))
        self.state = np.zeros((self.state_rows(self.length), *self.last_state.shape), self.last_state.dtype)
        self.reward = np.zeros((self.length, len(transition.reward)), np.float32)
        self.terminated, self.truncated, self.first = (np.zeros_like(self.reward, bool) for _ in range(3))
        self.valid = np.ones_like(self.terminated)

    def store(self, step_bytes: int, state_size: int, num_envs: int, frames: int = 1) -> Store:
        """The rows, and the copy of them that minibatches are cut from; reward and four flags each, and memories."""
        steps = self.length * num_envs
        memories = self.state_rows(self.length) * num_envs * 4 * state_size
        return Store("rollout_length", steps, 2 * (steps * (step_bytes + 4 + 4) + memories), at_once=steps)

    def state_rows(self, rows: int) -> int:
        """How many of the first `rows` rows have their memory kept."""
        return -(-rows // self.state_every)

    @property
    def full(self) -> bool:
        """Whether `length` steps have been added since the last `clear`."""
        return self.size == self.length

    @property
    def done(self) -> np.ndarray:
        """Where an episode ended, `[T, B]`."""
        return self.terminated | self.truncated

    def add(self, transition: Transition) -> None:
        """Write one step of all environments into the next row."""
        t = self.size
        if t == 0 and not self._allocated:
            self._allocate(transition)
        if t and np.count_nonzero(transition.first):
            over = self.terminated[t - 1] | self.truncated[t - 1]
            for index in np.flatnonzero(transition.first & self.valid[t - 1] & ~over).tolist():
                self._abandon(t - 1, index)
        write_rows(self.obs, t, transition.obs)
        self.action[t] = transition.action
        self.reward[t] = transition.reward
        self.terminated[t] = transition.terminated
        self.truncated[t] = transition.truncated
        self.first[t] = transition.first
        self.newest_state = transition.state
        if t % self.state_every == 0:
            self.state[t // self.state_every] = transition.state
        self.valid[t] = True if transition.valid is None else transition.valid
        if np.count_nonzero(transition.truncated):
            for index in np.flatnonzero(transition.truncated & ~transition.terminated).tolist():
                successor = tree_map(
                    lambda x, i=index: x[i].astype(storage_dtype(x.dtype)), transition.next_obs
                )
                # Not the next row's: a run may go on elsewhere, with a memory of nothing.
                after = transition.state if transition.next_state is None else transition.next_state
                self.ends.append((t, index, successor, after[index].copy()))
        self.size += 1
        if self.full:
            write_rows(self.last_obs, ..., transition.next_obs)
            if transition.next_state is not None:
                self.last_state[...] = transition.next_state

    def _abandon(self, row: int, index: int) -> None:
        """End an episode that was given up after a step, because a run went on at an episode boundary.

        What followed the step is not known here, so it does not count, and the one before is cut off at it.
        """
        before = row - 1, index
        if row and self.valid[before] and not (self.terminated[before] or self.truncated[before]):
            self.truncated[before] = True
            successor = tree_map(lambda x: x[row, index].copy(), self.obs)
            self.ends.append((*before, successor, self.newest_state[index].copy()))
        self.truncated[row, index], self.valid[row, index] = True, False

    def sequence(self) -> Sequence:
        """All rows, as views that are good until `clear`; `state` has its own number of rows (`state_every`)."""
        return Sequence(*(getattr(self, name) for name in Sequence._fields))

    def successors(self) -> tuple[Any, np.ndarray]:
        """Successors `[B + E, ...]` that are not the next row, and the memory `[B + E, S]` before each.

        The first `B` are those of the last row, the others those of the `E` truncated steps, each with the memory of
        its own episode.
        """
        return tree_map(
            lambda last, *ends: np.concatenate([last, *(end[None] for end in ends)]),
            (self.last_obs, self.last_state),
            *((obs, state) for _, _, obs, state in self.ends),
        )

    def next_values(self, value: np.ndarray, successor_value: np.ndarray) -> np.ndarray:
        """Value `[T, B]` of every row's successor, of those of all rows `[T, B]` and of `successors` `[B + E]`."""
        num_envs = value.shape[1]
        next_value = np.concatenate([value[1:], successor_value[None, :num_envs]])
        rows, columns = [t for t, *_ in self.ends], [index for _, index, *_ in self.ends]
        next_value[rows, columns] = successor_value[num_envs:]
        return next_value

    def clear(self) -> None:
        """Start over with the next step; the memory is used again."""
        self.size = 0
        self.ends = []

    @property
    def _allocated(self) -> bool:
        return "reward" in self.__dict__

    def state_dict(self) -> dict[str, Any]:
        """The rows that are filled."""
        if not self._allocated:
            return {"size": 0}
        rows = {name: tree_map(lambda x: x[: self.size], getattr(self, name)) for name in self._arrays}
        rows["state"] = self.state[: self.state_rows(self.size)]
        last = {"last_obs": self.last_obs, "last_state": self.last_state}
        last |= {"newest_state": self.newest_state} if self.size else {}
        return {"size": self.size, "rows": rows, "ends": list(self.ends), **last}

    _arrays = ("obs", "action", "reward", "terminated", "truncated", "first", "valid")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Fill in what `state_dict` gave."""
        self.size = state["size"]
        self.ends = []
        if "rows" not in state:
            return
        rows = dict(state["rows"])
        before = rows.pop("state")
        if "newest_state" in state:
            self.newest_state = np.array(state["newest_state"])
        elif self.size:
            # Checkpoints from before `state_every` have the memory of every row.
            rows["all_states"], before, self.newest_state = (
                before,
                before[:: self.state_every],
                before[-1].copy(),
            )
        self.state = _widened(before, self.state_rows(self.length))
        for name in self._arrays:
            setattr(self, name, tree_map(lambda x: _widened(x, self.length), rows[name]))
        self.last_obs = tree_map(np.array, state["last_obs"])
        self.last_state = np.array(state["last_state"])
        for t, index, obs, *memory in state["ends"]:
            # Checkpoints from before the memory was kept here: it is in the next row, as a rule.
            after = memory[0] if memory else rows["all_states"][min(t + 1, self.size - 1), index].copy()
            self.ends.append((int(t), int(index), obs, after))
        assert len(tree_leaves(self.last_obs)[0]) == self.reward.shape[1]


def _widened(x: np.ndarray, length: int) -> np.ndarray:
    rows = np.zeros((length, *x.shape[1:]), x.dtype)
    rows[: len(x)] = x
    return rows


def rollout_obstacle(rollout_length: int, total_steps: int, num_envs: int) -> Obstacle | None:
    """Whether a run of `total_steps` is over before a rollout is full."""
    vector_steps = -(-total_steps // num_envs)
    if rollout_length <= vector_steps:
        return None
    return Obstacle("rollout_length", vector_steps, rollout_length * num_envs)
