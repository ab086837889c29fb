import copy

import numpy as np
import pytest

from palaestra.agents.agent import Transition
from palaestra.agents.storage.rollout import Rollout
from palaestra.agents.storage.sequences import storage_dtype


def step(t, num_envs=2, truncated=(), terminated=(), valid=None, obs=None, first=()):
    """Step `t`: every array holds numbers that tell where they come from; the successor of 10t is 10t + 5."""
    ids = np.arange(num_envs)

    def flags(columns):
        return np.isin(ids, columns)

    return Transition(
        obs=(10.0 * t + 100 * ids)[:, None].astype(np.float32) if obs is None else obs,
        action=t + ids,
        reward=t + 0.5 * ids,
        terminated=flags(terminated),
        truncated=flags(truncated),
        next_obs=(10.0 * t + 5 + 100 * ids)[:, None].astype(np.float32) if obs is None else obs,
        first=flags([0]) if t == 0 else flags(first),
        state=np.full((num_envs, 3), t, np.float32),
        next_state=np.full((num_envs, 3), t + 0.5, np.float32),
        valid=valid,
    )


def test_steps_are_stored_in_rows():
    rollout = Rollout(3)
    for t in range(3):
        assert not rollout.full
        rollout.add(step(t))
    assert rollout.full and rollout.size == 3
    assert rollout.obs[..., 0].tolist() == [[0, 100], [10, 110], [20, 120]]
    assert rollout.action.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert rollout.reward.tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]
    assert rollout.first.tolist() == [[True, False], [False, False], [False, False]]
    assert rollout.state[:, 1, 2].tolist() == [0, 1, 2]
    assert rollout.valid.all() and not rollout.done.any()
    assert rollout.last_obs[:, 0].tolist() == [25, 125]


def test_true_successors_of_truncated_steps_are_kept_apart():
    rollout = Rollout(4)
    rollout.add(step(0, truncated=[1]))
    rollout.add(step(1, terminated=[0]))
    rollout.add(step(2, truncated=[0, 1], terminated=[0]))  # both at once: nothing follows a termination
    rollout.add(step(3, truncated=[0]))
    assert [(t, index, obs.tolist(), memory.tolist()) for t, index, obs, memory in rollout.ends] == [
        (0, 1, [105], [0.5] * 3),
        (2, 1, [125], [2.5] * 3),
        (3, 0, [35], [3.5] * 3),
    ]
    assert rollout.done.tolist() == [[False, True], [True, False], [True, True], [True, False]]


def test_an_episode_that_is_given_up_is_cut_off_before_what_is_not_known_of_it():
    """A run that went on with new episodes: what followed the last step is gone, and not what the next row shows."""
    rollout = Rollout(7)
    rollout.add(step(0, truncated=[1]))
    rollout.add(step(1, first=[0, 1]))  # given up after a step, and ended
    rollout.add(step(2))
    rollout.add(step(3))
    rollout.add(step(4, first=[0, 1]))
    rollout.add(step(5, terminated=[1], valid=np.array([True, True])))
    rollout.add(step(6, first=[1]))
    assert rollout.valid.T.tolist() == [
        [False, True, True, False, *[True] * 3],
        [*[True] * 3, False, *[True] * 3],
    ]
    assert rollout.done.T.tolist() == [
        [True, False, True, True, False, False, False],
        [True, False, True, True, False, True, False],
    ]
    assert [(t, index, obs.tolist(), memory.tolist()) for t, index, obs, memory in rollout.ends] == [
        (0, 1, [105], [0.5] * 3),
        (2, 0, [30], [3.0] * 3),
        (2, 1, [130], [3.0] * 3),
    ]


def test_what_is_kept_is_a_copy():
    rollout, obs = Rollout(2), np.ones((2, 1), np.float32)
    for t in range(2):
        rollout.add(step(t, truncated=[0], obs=obs))
    obs[:] = 7
    assert rollout.obs.max() == rollout.last_obs.max() == 1
    assert all(successor.max() == 1 for _, _, successor, _ in rollout.ends)


def test_invalid_rows_are_marked():
    rollout = Rollout(2)
    rollout.add(step(0))
    rollout.add(step(1, valid=np.array([True, False])))
    assert rollout.valid.tolist() == [[True, True], [True, False]]


def test_the_memory_is_used_again():
    rollout = Rollout(2)
    for t in range(2):
        rollout.add(step(t, truncated=[0], valid=np.array([False, True])))
    before = rollout.obs
    rollout.clear()
    assert rollout.size == 0 and rollout.ends == [] and not rollout.full
    for t in range(5, 7):
        rollout.add(step(t))
    assert rollout.obs is before and rollout.obs[..., 0].tolist() == [[50, 150], [60, 160]]
    assert rollout.valid.all() and not rollout.truncated.any()


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.float64, np.float32),
        (np.float32, np.float32),
        (np.uint8, np.uint8),
        (np.int64, np.int64),
        (bool, bool),
    ],
)
def test_types_are_kept(given, stored):
    assert storage_dtype(np.dtype(given)) == stored
    rollout = Rollout(1)
    rollout.add(step(0, truncated=[1], obs=np.ones((2, 3), given)))
    assert rollout.obs.dtype == rollout.last_obs.dtype == rollout.ends[0][2].dtype == stored


def test_nested_observations():
    rollout = Rollout(2)
    for t in range(2):
        nested = {"image": np.full((2, 4, 4), t, np.uint8), "rest": (np.full(2, t), np.full((2, 3), t / 2))}
        rollout.add(step(t, truncated=[1], obs=nested))
    assert rollout.obs["image"].shape == (2, 2, 4, 4) and rollout.obs["image"].dtype == np.uint8
    assert rollout.obs["rest"][1][1].tolist() == [[0.5] * 3] * 2
    assert rollout.last_obs["rest"][0].tolist() == [1, 1]
    assert rollout.ends[1][2]["rest"][1].tolist() == [0.5] * 3


@pytest.mark.parametrize("filled", [0, 1, 3, 5])
def test_filling_goes_on_exactly_from_a_saved_state(filled):
    """Saved midway, frozen as a file's contents are, and loaded into a new one: the same rollout in the end."""
    ours, theirs = Rollout(5), Rollout(5)
    for t in range(filled):
        ours.add(step(t, truncated=[t % 2]))
    saved = copy.deepcopy(ours.state_dict())
    freeze(saved)
    theirs.load_state_dict(saved)
    assert theirs.size == filled
    for t in range(filled, 5):
        for rollout in (ours, theirs):
            rollout.add(step(t, truncated=[t % 2]))
    for round in range(2):
        assert ours.full and theirs.full
        for name in (
            "obs",
            "action",
            "reward",
            "terminated",
            "truncated",
            "first",
            "valid",
            "state",
            "last_obs",
        ):
            left, right = getattr(ours, name), getattr(theirs, name)
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right, err_msg=name)
        assert [end[:2] for end in ours.ends] == [end[:2] for end in theirs.ends]
        for left, right in zip(ours.ends, theirs.ends, strict=True):
            np.testing.assert_array_equal(left[2], right[2])
            np.testing.assert_array_equal(left[3], right[3])
        if round == 0:
            for rollout in (ours, theirs):
                rollout.clear()
                for t in range(5):
                    rollout.add(step(20 + t, truncated=[1]))


def test_the_memory_is_kept_before_every_window_only():
    """8 rows in windows of 3 begin at rows 0, 3 and 6: 3 x 2 memories of 3 float32, 72 bytes and not 192."""
    rollout = Rollout(8, state_every=3)
    for t in range(8):
        rollout.add(step(t))
    assert rollout.state[..., 0].tolist() == [[0, 0], [3, 3], [6, 6]]
    assert rollout.state.nbytes == 72
    # 16 steps of 4 + 8 bytes, with reward and flags 20; and 6 memories of 3 numbers; all of it twice.
    assert rollout.store(12, 3, 2).num_bytes == 2 * (16 * 20 + 6 * 12)


def test_the_memory_of_an_episode_that_was_given_up_is_that_of_its_own_step():
    rollout, whole = Rollout(8, state_every=4), Rollout(8)
    for t in range(3):
        rollout.add(step(t))
        whole.add(step(t))
    resumed = Rollout(8, state_every=4)
    resumed.load_state_dict(copy.deepcopy(rollout.state_dict()))
    for each in (rollout, whole, resumed):
        each.add(step(3, first=[1]))
        ends = [(t, index, memory.tolist()) for t, index, _, memory in each.ends]
        assert ends == [(1, 1, [2.0] * 3)]


def test_a_state_with_every_memory_is_taken():
    """Checkpoints of before: one memory a row, and ends without one."""
    whole, rollout = Rollout(8), Rollout(8, state_every=3)
    for t in range(5):
        whole.add(step(t, truncated=[1] if t == 1 else []))
    saved = copy.deepcopy(whole.state_dict())
    del saved["newest_state"]
    saved["ends"] = [end[:3] for end in saved["ends"]]
    rollout.load_state_dict(saved)
    assert rollout.state[:2, :, 0].tolist() == [[0, 0], [3, 3]] and len(rollout.state) == 3
    assert rollout.newest_state[:, 0].tolist() == [4, 4]
    assert [(t, index, memory.tolist()) for t, index, _, memory in rollout.ends] == [(1, 1, [2.0] * 3)]


def test_a_state_holds_only_the_rows_that_are_filled():
    rollout = Rollout(100)
    rollout.add(step(0))
    state = rollout.state_dict()
    assert state["size"] == 1 and len(state["rows"]["obs"]) == 1


def freeze(tree):
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        elif isinstance(value, dict | list | tuple):
            freeze(value)
