"""Chunks `[T, B]` with episode starts inside, cut at the starts into segments that a recurrent network runs at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Segments(NamedTuple):
    """Where the segments of a chunk lie; `K` of them, the longest of `L` steps.

    Segment `k` is the `lengths[k]` steps of column `columns[k]` from row `starts[k]` on: up to the next episode
    start, or to the chunk's end.
    """

    columns: Tensor
    starts: Tensor
    lengths: Tensor
    rows: Tensor
    """For every step of the padded segments, its place `[L, K]` among the flattened steps; padding repeats the last."""
    places: Tensor
    """For every step of the chunk, its place `[T * B]` among the flattened `[L * K]`."""
    last: Tensor
    """The segment `[B]` in which each column ends."""
    padding: Tensor
    """True `[L, K]` behind a segment's end."""


def find_segments(first: Tensor) -> Segments:
    """Cut a chunk at its episode starts `first [T, B]`."""
    length, num_envs = first.shape
    opens = first.clone()
    opens[0] = True
    columns, starts = opens.T.nonzero(as_tuple=True)
    ends = torch.full_like(starts, length)
    ends[:-1] = torch.where(columns[1:] == columns[:-1], starts[1:], length)
    lengths = ends - starts
    count, longest = len(starts), int(lengths.max())

    steps = torch.arange(longest, device=first.device)[:, None]
    rows = (starts + torch.minimum(steps, lengths - 1)) * num_envs + columns
    segment = opens.T.flatten().cumsum(0).reshape(num_envs, length).T - 1
    within = torch.arange(length, device=first.device)[:, None] - starts[segment]
    return Segments(
        columns=columns,
        starts=starts,
        lengths=lengths,
        rows=rows,
        places=(within * count + segment).flatten(),
        last=segment[-1],
        padding=steps >= lengths,
    )
