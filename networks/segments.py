"""Chunks `[T, B]` with episode starts inside, cut at the starts into segments that a recurrent network runs at once."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Segments(NamedTuple):
    """Where the steps of a chunk lie when its segments are packed into `K` columns of `L` steps.

    Columns are as long as the longest segment. Short ones follow each other in a column, with a step between them
    that wipes the state out; what is left over keeps it as it is.
    """

    rows: Tensor
    """For every place `[L, K]`, the step among the flattened `[T * B]` that lies there; 0 where none does."""
    places: Tensor
    """For every step of the chunk, its place `[T * B]` among the flattened `[L * K]`."""
    column: Tensor
    """Whose state `[K]` a column begins with."""
    carries: Tensor
    """Whether `[K]` it begins with that state; with zeros otherwise."""
    last: Tensor
    """The column `[B]` whose state at the end is that of the chunk's own column."""
    keeps: Tensor
    """True `[L, K]` where the state has to stay as it is."""
    wipes: Tensor
    """True `[L, K]` where the state has to become zero."""

    def arrange(self, x: Tensor) -> Tensor:
        """Steps `[T, B, D]` in their places `[L, K, D + 2]`, zero elsewhere; the last two numbers: keep, wipe out."""
        flags = torch.stack([self.keeps, self.wipes], -1)
        x = x.flatten(0, 1)[self.rows] * ~flags.any(-1, keepdim=True)
        return torch.cat([x, flags.to(x.dtype)], -1)

    def begin(self, state: Tensor) -> Tensor:
        """States `[K, S]` that columns begin with, of those of the chunk `[B, S]`."""
        return state[self.column] * self.carries.unsqueeze(-1)

    def restore(self, y: Tensor, num_envs: int) -> Tensor:
        """Outputs `[L, K, H]` as those of the chunk `[T, B, H]`."""
        return y.flatten(0, 1)[self.places].unflatten(0, (-1, num_envs))


def find_segments(first: Tensor) -> Segments:
    """Cut a chunk at its episode starts `first [T, B]`."""
    length, num_envs = first.shape
    opens = first.cpu().numpy().T.copy()
    opens[:, 0] = True
    columns, starts = opens.nonzero()
    final = np.append(columns[1:] != columns[:-1], True)
    ends = np.where(final, length, np.append(starts[1:], length))
    lengths = ends - starts
    column, offset = pack(lengths.tolist(), (starts == 0).tolist(), final.tolist())

    longest, count = int(lengths.max()), int(column.max()) + 1
    segment = opens.cumsum().reshape(num_envs, length).T - 1
    within = np.arange(length)[:, None] - starts[segment]
    places = ((offset[segment] + within) * count + column[segment]).ravel()
    rows = np.zeros(longest * count, np.int64)
    rows[places] = np.arange(length * num_envs)
    wipes, used = np.zeros((2, longest * count), bool)
    used[places] = True
    wipes[((offset - 1) * count + column)[offset > 0]] = True
    carried = starts == 0
    whose, carries = np.zeros(count, np.int64), np.zeros(count, bool)
    whose[column[carried]], carries[column[carried]] = columns[carried], True

    def tensor(x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(first.device)

    return Segments(
        rows=tensor(rows.reshape(longest, count)),
        places=tensor(places),
        column=tensor(whose),
        carries=tensor(carries),
        last=tensor(column[final]),
        keeps=tensor(~(used | wipes).reshape(longest, count)),
        wipes=tensor(wipes.reshape(longest, count)),
    )


def pack(lengths: list[int], initial: list[bool], final: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Put segments into few columns as long as the longest; returns column and first row of each.

    The longest go first, each to where it leaves the least room. Initial segments, which bring a state along, begin
    a column, and final ones, whose state is asked for, end one.
    """
    capacity = max(lengths)
    column, offset = np.zeros((2, len(lengths)), np.int64)
    room: list[tuple[int, int]] = []  # columns that take more, by the rows that are left in them
    count = 0
    groups = ([], [], [])  # type: tuple[list[int], list[int], list[int]]
    for k in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        groups[0 if initial[k] else 2 if final[k] else 1].append(k)
    for k in (k for group in groups for k in group):
        place = len(room) if initial[k] else bisect_left(room, (lengths[k] + 1, 0))
        if place < len(room):
            left, column[k] = room.pop(place)
            offset[k] = capacity - left + 1
        else:
            column[k], count = count, count + 1
        if not final[k]:
            insort(room, (capacity - int(offset[k]) - lengths[k], int(column[k])))
    return column, offset
