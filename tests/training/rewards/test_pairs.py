"""Pairs near and far, by the steps between them and evenly from places."""

import numpy as np

from palaestra.training.rewards.pairs import Steps, draw_pairs


def test_pairs_are_near_or_far_within_one_piece():
    piece = np.stack([np.zeros(80, int), np.full(80, -1), np.ones(80, int)], 1)
    pairs = draw_pairs(piece, 64, near=3, far=15, generator=np.random.default_rng(0))
    (start, column), (end, other), near = *pairs[:2], pairs.reachable > 0
    gap = end - start
    assert pairs.reachable.tolist() == [1, 0] * 32
    assert set(column) == {0, 2} and (column == other).all()
    assert set(gap[near]) == {1, 2, 3} and (gap[~near] > 15).all()
    part = pairs.part(slice(10, 13))
    assert part.earlier[0].tolist() == start[10:13].tolist() and part.reachable.tolist() == [1, 0, 1]


def test_pieces_that_are_too_short_give_way_to_pairs_of_two():
    piece = np.repeat(np.arange(10), 4)[:, None]
    pairs = draw_pairs(piece, 64, near=1, far=5, generator=np.random.default_rng(0))
    start, end, near = pairs.earlier[0], pairs.later[0], pairs.reachable > 0
    assert (end - start)[near].tolist() == [1] * near.sum()
    assert (start[~near] // 4 != end[~near] // 4).all()
    assert draw_pairs(piece[:4], 64, near=1, far=5, generator=np.random.default_rng(0)) is None
    assert draw_pairs(np.full((9, 1), -1), 64, near=1, far=5, generator=np.random.default_rng(0)) is None


def test_a_share_of_the_far_pairs_is_of_one_piece():
    """Of two pieces of 40 steps: with a half, 16 of 32 are more than 15 steps later; the others go both ways."""
    piece = np.repeat([0, 1], 40)[:, None]

    def far(within):
        pairs = draw_pairs(piece, 64, near=3, far=15, generator=np.random.default_rng(0), within=within)
        start, end = (places[0][pairs.reachable == 0] for places in (pairs.earlier, pairs.later))
        assert ((np.abs(start - end) > 15) | (start // 40 != end // 40)).all()
        return (start // 40 == end // 40) & (end - start > 15)

    assert far(1.0).all() and 16 <= far(0.5).sum() < 32 and far(0.0).sum() < 16


def test_steps_are_drawn_evenly_from_places_and_none_is_far_from_itself():
    """Ninety steps in place 5, ten more in one of ten others each, and five that are not to be drawn."""
    cell = np.array([*[5] * 90, *range(10, 20), *[77] * 5], np.uint64)[:, None]
    piece = np.array([*range(100), *[-1] * 5])[:, None]
    time, column = Steps(piece, cell).draw(22_000, np.random.default_rng(0))
    drawn = np.bincount(cell[time, column].astype(int), minlength=78)
    assert (column == 0).all() and drawn[77] == 0
    # 2,000 of each of 11 places: three deviations are 128.
    assert np.abs(drawn[[5, *range(10, 20)]] - 2000).max() < 128
    piece, cell = np.zeros((60, 1), int), np.arange(60, dtype=np.uint64)[:, None] % 2
    for within in (0.0, 1.0):
        pairs = draw_pairs(piece, 64, 2, 10, np.random.default_rng(0), within=within, cell=cell)
        far = pairs.reachable == 0
        assert (cell[pairs.earlier] != cell[pairs.later])[far].all()
        assert not (cell[pairs.earlier] != cell[pairs.later])[~far].all()
