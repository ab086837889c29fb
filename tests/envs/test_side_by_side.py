"""Steps of several environments as one."""

import numpy as np

from palaestra.envs.vector import EnvStep, Episode, side_by_side


def step(values, *, valid=None, episodes=(), failed=(), same=True):
    next_obs = np.array(values, np.float32)
    ends = next_obs > 5
    obs = next_obs if same else next_obs * 10
    none = np.zeros_like(ends)
    return EnvStep(
        next_obs, next_obs / 2, ends, none, obs, ends, valid, list(episodes), {"infos": []}, failed
    )


def test_rows_copies_and_failures_are_counted_on():
    first = step([1, 9], episodes=[Episode(1, 7, 3.0, 4, True)])
    second = step([2, 3], valid=np.array([True, False]), episodes=[Episode(0, 8, 1.0, 2, False)], failed=(1,))
    joined = side_by_side([first, second])
    assert joined.next_obs.tolist() == [1, 9, 2, 3] and joined.reward.tolist() == [0.5, 4.5, 1, 1.5]
    assert joined.terminated.tolist() == [False, True, False, False]
    assert joined.valid.tolist() == [True, True, True, False]
    assert [(each.env_index, each.seed) for each in joined.episodes] == [(1, 7), (2, 8)]
    assert joined.failed == (3,)
    assert joined.obs is joined.next_obs


def test_what_is_acted_on_next_is_joined_where_an_episode_has_begun():
    joined = side_by_side([step([1]), step([2], same=False)])
    assert joined.obs.tolist() == [1, 20] and joined.next_obs.tolist() == [1, 2]
    assert joined.valid is None and joined.failed == ()
