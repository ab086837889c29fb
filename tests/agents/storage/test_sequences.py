from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from palaestra.agents.storage.sequences import Sequence, cut_windows, padded, padding_index, storage_dtype


def sequence(rows, columns):
    """Arrays of numbers that tell where they come from; all flags are true."""
    numbers = np.arange(rows * columns).reshape(rows, columns)
    true = np.ones((rows, columns), bool)
    return Sequence(
        obs={"number": numbers, "more": (numbers[..., None],)},
        first=true,
        action=numbers,
        reward=numbers.astype(np.float32),
        terminated=true,
        truncated=true,
        valid=true,
        state=numbers[..., None].astype(np.float32),
    )


def test_short_columns_repeat_their_last_step_and_empty_ones_the_longest_column():
    index, columns = padding_index(np.array([2, 0, 4]), 5)
    assert index.T.tolist() == [[0, 1, 1, 1, 1], [0, 1, 2, 3, 3], [0, 1, 2, 3, 3]]
    assert columns.tolist() == [0, 2, 2]


@pytest.mark.parametrize("tensors", [False, True])
def test_padding_repeats_steps_and_raises_no_flag(tensors):
    steps = sequence(4, 3)
    if tensors:
        steps = steps._replace(**{name: torch.from_numpy(getattr(steps, name)) for name in steps._fields[1:]})
        steps = steps._replace(obs=torch.from_numpy(steps.obs["number"]))
    out = padded(steps, np.array([2, 0, 4]), 4)
    assert out.action.tolist() == [[0, 2, 2], [3, 5, 5], [3, 8, 8], [3, 11, 11]]
    assert out.state[..., 0].tolist() == out.action.tolist()
    for name in ("first", "terminated", "truncated", "valid"):
        assert getattr(out, name).T.tolist() == [[True, True, False, False], [False] * 4, [True] * 4]
    number = out.obs if tensors else out.obs["more"][0][..., 0]
    assert number.tolist() == out.action.tolist()


def test_nothing_is_copied_where_nothing_is_missing():
    steps = sequence(6, 2)
    out = padded(steps, np.array([4, 4]), 4)
    assert len(out.action) == 4 and out.action.base is steps.action.base
    assert len(padded(steps, np.array([0, 0]), 0).action) == 0


class Flagged(NamedTuple):
    obs: Any
    first: Any
    valid: Any
    state: Any


def test_windows_are_cut_out_of_columns():
    """Five rows of two columns in windows of two: the last window of each column repeats its last row."""
    numbers = torch.arange(10).reshape(5, 2)
    true = torch.ones(5, 2, dtype=torch.bool)
    windows = cut_windows(Flagged(numbers, true, true, numbers[::2, :, None]), 2)
    assert windows.obs.T.tolist() == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 8], [9, 9]]
    assert windows.valid.T.tolist() == windows.first.T.tolist() == [*[[True, True]] * 4, *[[True, False]] * 2]
    assert windows.state[..., 0].tolist() == [[0, 1, 4, 5, 8, 9]]


@pytest.mark.parametrize(
    ("given", "stored"), [(np.float64, np.float32), (np.uint8, np.uint8), (np.int64, np.int64), (bool, bool)]
)
def test_storage_types(given, stored):
    assert storage_dtype(np.dtype(given)) == stored
