"""What a history keeps: columns of one environment each, of which the most commonplace is written over."""

import numpy as np
from gymnasium import spaces

from palaestra.training.rewards.history import History
from palaestra.training.rewards.visits import one_over_visits

from .steps import one_step, setting

LINE = spaces.Box(0, 100, (1,), np.float32)


def walk(history, places, first=(), valid=None):
    """Let one environment come by some places, where episodes begin at the times `first`."""
    for t, place in enumerate(places):
        obs = np.array([[place]], np.float32)
        history.add(one_step(obs, obs=obs, first=[t in first]), np.arange(1), np.array([place], np.uint64))


def test_one_over_visits():
    share = one_over_visits(np.array([[7, 8], [7, 9]]), np.array([[True, True], [True, False]]))
    assert share.tolist() == [[0.5, 1], [0.5, 0]]


def test_columns_are_cut_where_episodes_begin():
    history = History(setting(LINE, num_envs=2), steps=20, longest=4)
    assert history.piece.shape == (4, 5)
    for t in range(5):
        obs = np.array([[t], [t + 10]], np.float32)
        rows = np.arange(2) if t != 1 else np.array([0])
        history.add(one_step(obs, obs=obs, first=[t == 0, t in (0, 3)]), rows, np.arange(len(rows)) + t)
    # The first one's column is full: it goes on in an empty one, in a piece of its own. The other was resetting once.
    assert history.piece.T.tolist()[:3] == [[0, 0, 0, 0], [1, 1, 2, 2], [3, -1, -1, -1]]
    assert history.obs[:, 1, 0].tolist() == [10, 12, 13, 14]
    assert history.column.tolist() == [2, 3] and history.current.tolist() == [3, -1]
    assert history.read((np.array([0, 3]), np.array([2, 0]))).ravel().tolist() == [4, 3]


def test_the_most_commonplace_column_is_written_over():
    """Columns of two steps in the places 1 2, 1 1, 3 4 and 1 5. The place 1 is there four times: the rarities are
    (1/4 + 1) / 2, 1/4, 1 and 5/8, so that 1 1 goes first; the next 1 1 goes at once, too.
    """
    history = History(setting(LINE, num_envs=1), steps=8, longest=2)
    walk(history, [1, 2, 1, 1, 3, 4, 1, 5])
    assert history.column.tolist() == [1]
    assert one_over_visits(history.cell, history.piece >= 0).T.tolist() == [
        [0.5, 1],
        [0, 0],
        [1, 1],
        [0.5, 1],
    ]
    assert history.rarity().tolist() == [0.75, 0, 1, 0.75]
    walk(history, [1, 1])
    assert history.column.tolist() == [1]
    # Of equals the oldest goes first: new places take the place of the first column.
    walk(history, [6, 7, 8])
    assert history.column.tolist() == [0] and history.cell[0, 0] == 8
    assert sorted(history.cell[history.piece >= 0].tolist()) == [1, 3, 4, 5, 6, 7, 8]


def test_dithering_forgets_nothing():
    history = History(setting(LINE, num_envs=1), steps=400, longest=10)
    walk(history, range(100))
    walk(history, [0, 1] * 1000)
    assert set(range(2, 100)) <= set(history.cell[history.piece >= 0].tolist())


def test_where_all_places_are_new_the_latest_are_kept():
    history = History(setting(LINE, num_envs=1), steps=40, longest=10)
    walk(history, range(95))
    assert sorted(history.cell[history.piece >= 0].tolist()) == list(range(60, 95))


def test_one_piece_in_ten_is_held_out():
    history = History(setting(LINE, num_envs=2), steps=80, longest=10)
    for t in range(20):
        obs = np.zeros((2, 1), np.float32)
        history.add(one_step(obs, first=[True, True]), np.arange(2), np.array([t, t], np.uint64))
    held_out = history.numbered(held_out=True)
    assert sorted(held_out[held_out >= 0].tolist()) == [9, 19, 29, 39]
    assert ((history.numbered(held_out=False) >= 0) != (held_out >= 0))[history.piece >= 0].all()
