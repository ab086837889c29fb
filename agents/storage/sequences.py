"""Steps in sequence, time-major `[T, B, ...]`: one type, one padding, one way to the device."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...networks.tree import tree_map

# A NamedTuple of arrays or tensors `[T, B, ...]`, of which `valid` and perhaps other flags tell what the rows are.
Steps = TypeVar("Steps", bound=Any)
FLAGS = ("first", "terminated", "truncated", "valid")


class Sequence(NamedTuple):
    """Consecutive steps in columns, `[T, B, ...]`; NumPy arrays or tensors.

    Every row holds a step that was really made, padding too: observations and actions of zeros may lie outside their
    spaces, and have probabilities that no mask undoes. In padding all flags are false.
    """

    obs: Any
    first: Any
    """This `obs` opens an episode."""
    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    valid: Any
    """True for steps to learn from."""
    state: Any
    """The agent's memory `[K, B, S]` before the first step of each of K windows; of width 0 where none is kept."""


def storage_dtype(dtype: np.dtype) -> np.dtype:
    """As the environment gives it; but float64 is stored as float32, which is what networks compute in."""
    return np.dtype(np.float32) if dtype == np.float64 else dtype


def to_tensor(x: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """An array as a tensor on the device; tensors stay what they are."""
    return torch.from_numpy(x).to(device) if isinstance(x, np.ndarray) else x


def to_tensors(tree: Any, device: torch.device) -> Any:
    """The same for every leaf; NamedTuples become plain tuples."""
    return tree_map(lambda x: to_tensor(x, device), tree)


def padding_index(lengths: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Index `([total, B], [B])` of `[T, B]` rows that repeats the last row of columns shorter than `total`.

    Empty columns (`lengths [B]` of 0) repeat the longest one.
    """
    columns = np.where(lengths > 0, np.arange(len(lengths)), lengths.argmax())
    return np.minimum(np.arange(total)[:, None], lengths[columns] - 1), columns


def padded(steps: Steps, lengths: np.ndarray, total: int) -> Steps:
    """Columns of `lengths [B]` rows as columns of `total` rows: real steps again, with all flags false."""
    if (lengths == total).all():
        return type(steps)(*tree_map(lambda x: x[:total], tuple(steps)))
    index, real = padding_index(lengths, total), np.arange(total)[:, None] < lengths
    if isinstance(steps.valid, Tensor):
        *index, real = to_tensors((*index, real), steps.valid.device)
    # Indexed by a tuple: a list would be one array of rows.
    repeated = type(steps)(*tree_map(lambda x: x[tuple(index)], tuple(steps)))
    flags = {name: getattr(repeated, name) & real for name in FLAGS if name in steps._fields}
    return repeated._replace(**flags)


def cut_windows(steps: Steps, length: int) -> Steps:
    """Windows `[L, N, ...]` of consecutive rows of tensors `[T, B, ...]`, padded; `state [1, N, S]` before them.

    The `state` of steps has one row a window.
    """
    rows, columns = steps.valid.shape
    state = steps.state.flatten(0, 1)[None]
    without = steps._replace(state=steps.state.new_zeros(rows, columns, 0))
    whole = padded(without, np.full(columns, rows), -(-rows // length) * length)
    windows = tree_map(lambda x: x.unflatten(0, (-1, length)).transpose(0, 1).flatten(1, 2), tuple(whole))
    return type(steps)(*windows)._replace(state=state)
