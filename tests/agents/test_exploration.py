import numpy as np

from palaestra.agents.noise import with_random_rows


def test_only_the_rows_that_explore_become_random():
    values, rows = np.full((3, 2), 5.0, np.float32), np.array([False, True, False])
    randomized = with_random_rows(values, rows, np.random.default_rng(0))
    assert (randomized[[0, 2]] == 5).all() and (randomized[1] < 1).all() and (values == 5).all()
    assert with_random_rows(values, np.zeros(3, bool), np.random.default_rng(0)) is values
