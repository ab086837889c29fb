"""Stacks of frames of which a ring keeps each frame once: for replays of pictures that are stacked, as Atari's are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...networks.tree import tree_leaves, tree_map, write_rows
from .sequences import storage_dtype

# Frames smaller than this are not worth the looking for them.
SMALLEST_FRAME = 1024
LARGEST_STACK = 16


def stacked_frames(obs: Any, next_obs: Any) -> int:
    """How many frames observations `[B, K, ...]` stack, judged by a step: 1 unless the successors go on with them."""
    if not isinstance(obs, np.ndarray) or obs.ndim < 4 or not 2 <= obs.shape[1] <= LARGEST_STACK:
        return 1
    # Stacks are pictures `[K, H, W]`, or `[K, H, W, C]`; on axis 1 lies what one copy stacks.
    frame = obs[0, 0]
    if frame.nbytes < SMALLEST_FRAME or obs.dtype != storage_dtype(obs.dtype):
        return 1
    return obs.shape[1] if np.array_equal(obs[:, 1:], next_obs[:, :-1]) else 1


class FrameRing:
    """Stacks `[B, K, ...]` in `rows` rows, of which each frame is stored once.

    The stack of a row is made of its newest frame and those of the rows before, as far as they are linked to it: a row
    is when its older frames are the last ones of the row before. Where an episode opens with one frame repeated,
    nothing before counts. All of this is looked at, never taken for granted: stacks that are neither are kept whole.
    Besides its rows the ring holds the `K - 1` before them.
    """

    def __init__(self, rows: int, obs: np.ndarray):
        self.num_envs, self.count, *shape = obs.shape
        self.rows = rows
        self.total = rows + self.count - 1
        slots = self.total * self.num_envs
        self.frames = np.zeros((slots, *shape), obs.dtype)
        # How many rows before a slot's belong to its stack; which whole stack it is, -1 for none.
        self.depth, self.whole = np.zeros(slots, np.uint8), np.full(slots, -1, np.int32)
        # Whether the linked rows go back to one that opened an episode, or as far as any stack reaches.
        self.sound = np.zeros(slots, bool)
        self.stacks = Pool()
        self.position = 0  # the row that the next `add` writes
        self.written = 0  # rows that were ever written, at most all; the newest row's successor is one
        self.newest: np.ndarray | None = None  # what was written last, into the row at `position`

    def add(self, obs: np.ndarray, next_obs: np.ndarray) -> None:
        """Write a row, and its successor into the next one."""
        if obs is not self.newest:
            before = (self.position - 1) % self.total
            previous = (
                self._stacks(np.full(self.num_envs, before), np.arange(self.num_envs))
                if self.written
                else None
            )
            self._write(self.position, obs, previous)
        self.position = (self.position + 1) % self.total
        self._write(self.position, next_obs, obs)
        self.newest = next_obs
        self.written = min(max(self.written, 1) + 1, self.total)

    def _write(self, row: int, stack: np.ndarray, previous: np.ndarray | None) -> None:
        """Write a row of stacks `[B, K, ...]`, which those of the row before may be linked to."""
        slots, before = (self._slots_of(each % self.total) for each in (row, row - 1))
        if (old := self.whole[slots][self.whole[slots] >= 0]).size:
            self.stacks.remove(old)
        self.frames[slots] = stack[:, -1]
        linked = np.zeros(self.num_envs, bool) if previous is None else _same(stack[:, :-1], previous[:, 1:])
        opens = ~linked
        if opens.any():
            opens[opens] = _same(stack[opens, :-1], stack[opens, -1:])
        depth = np.where(linked, np.minimum(self.depth[before] + 1, self.count - 1), 0)
        sound = opens | (linked & (self.sound[before] | (depth == self.count - 1)))
        self.depth[slots], self.sound[slots], self.whole[slots] = depth, sound, -1
        if not sound.all():
            index = np.flatnonzero(~sound)
            self.whole[slots.start + index] = self.stacks.add(stack[index])

    def _slots_of(self, row: int) -> slice:
        return slice(row * self.num_envs, (row + 1) * self.num_envs)

    def take(self, slots: np.ndarray, position: int) -> np.ndarray:
        """Stacks `[N, K, ...]` of slots `[N]` of a ring of `rows` rows that writes its row `position` next."""
        back = (position - slots // self.num_envs) % self.rows
        return self._stacks((self.position - back) % self.total, slots % self.num_envs)

    def _stacks(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        slots = rows * self.num_envs + columns
        back = np.minimum(np.arange(self.count - 1, -1, -1), self.depth[slots][:, None])
        source = (rows[:, None] - back) % self.total * self.num_envs + columns[:, None]
        stacks = self.frames.take(source, 0)
        whole = self.whole[slots]
        if (index := np.flatnonzero(whole >= 0)).size:
            stacks[index] = self.stacks.rows[whole[index]]
        return stacks

    def state_dict(self) -> dict[str, Any]:
        """All rows in use, as views."""
        used = slice(0, self.written * self.num_envs)
        slots = np.flatnonzero(self.whole >= 0)
        return {
            "position": self.position,
            "written": self.written,
            "count": self.count,
            "frames": self.frames[used],
            "depth": self.depth[used],
            "sound": self.sound[used],
            "slots": slots,
            "stacks": self.stacks.rows[self.whole[slots]] if len(slots) else None,
        }

    @staticmethod
    def example(state: dict[str, Any], num_envs: int) -> np.ndarray:
        """Zeros like the stacks `[B, K, ...]` that a state holds."""
        shape = state["frames"].shape[1:]
        return np.zeros((num_envs, state["count"], *shape), state["frames"].dtype)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.position, self.written, self.newest = state["position"], state["written"], None
        for name in ("frames", "depth", "sound"):
            getattr(self, name)[: len(state[name])] = state[name]
        self.stacks, self.whole[:] = Pool(), -1
        if len(state["slots"]):
            self.whole[state["slots"]] = self.stacks.add(state["stacks"])


def _same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which rows of two arrays are equal throughout, `[B]`."""
    return np.array(
        [np.array_equal(a, np.broadcast_to(b, a.shape)) for a, b in zip(one, other, strict=True)], bool
    )


class Pool:
    """Rows that come and go: `rows [capacity, ...]` grows when it is full, free ones are used again."""

    def __init__(self) -> None:
        self.rows: Any = None
        self.capacity = 0
        self.free: list[int] = []

    def add(self, rows: Any) -> np.ndarray:
        """Copy rows `[N, ...]` in; returns their indices `[N]`."""
        count = len(tree_leaves(rows)[0])
        if len(self.free) < count:
            self._grow(rows, self.capacity + max(count, self.capacity, 16))
        indices = np.array([self.free.pop() for _ in range(count)])
        write_rows(self.rows, indices, rows)
        return indices

    def remove(self, indices: np.ndarray) -> None:
        """Free the rows of `indices [N]`."""
        self.free += indices.tolist()

    def _grow(self, rows: Any, capacity: int) -> None:
        wider = tree_map(lambda x: np.zeros((capacity, *x.shape[1:]), storage_dtype(x.dtype)), rows)
        if self.rows is not None:
            write_rows(wider, slice(0, self.capacity), self.rows)
        self.free += range(capacity - 1, self.capacity - 1, -1)
        self.rows, self.capacity = wider, capacity
