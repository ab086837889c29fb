"""Segments of episodes in few columns: every step once, a wipe between neighbours, states where they belong."""

import numpy as np
import pytest
import torch

from palaestra.networks.segments import find_segments, pack


def test_short_segments_share_a_column():
    # Two columns of eight steps; the first has starts at 3 and 6, the second none.
    first = torch.zeros(8, 2, dtype=torch.bool)
    first[3, 0] = first[6, 0] = True
    segments = find_segments(first)
    # Column 0: all of the second. Column 1: 0-2 with its state, a wipe, 3-5. The last segment finds no room there.
    assert segments.rows.shape == (8, 3)
    assert segments.places.view(8, 2)[:, 0].tolist() == [1, 4, 7, 13, 16, 19, 2, 5]
    assert segments.places.view(8, 2)[:, 1].tolist() == list(range(0, 24, 3))
    assert segments.wipes.nonzero().tolist() == [[3, 1]]
    assert segments.keeps[:, 2].tolist() == [False] * 2 + [True] * 6 and segments.keeps[7, 1]
    assert segments.column.tolist()[:2] == [1, 0] and segments.carries.tolist() == [True, True, False]
    assert segments.last.tolist() == [2, 0]


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_every_step_has_a_place_of_its_own(share):
    generator = np.random.default_rng(0)
    for _ in range(20):
        first = torch.from_numpy(generator.random((32, 5)) < share)
        segments = find_segments(first)
        length, count = segments.rows.shape
        places = segments.places
        assert len(set(places.tolist())) == first.numel() == len(places)
        assert torch.equal(segments.rows.flatten()[places], torch.arange(first.numel()))
        used = torch.zeros(length * count, dtype=torch.bool)
        used[places] = True
        assert torch.equal(~used, (segments.keeps | segments.wipes).flatten())
        rows, columns = places.view(32, 5) // count, places.view(32, 5) % count
        for env in range(5):
            assert segments.last[env] == columns[-1, env]
            assert not segments.wipes[rows[-1, env] :, columns[-1, env]].any()
            for t in range(32):
                if t and not first[t, env]:
                    assert rows[t, env] == rows[t - 1, env] + 1 and columns[t, env] == columns[t - 1, env]
                elif t and rows[t, env] > 0:
                    assert segments.wipes[rows[t, env] - 1, columns[t, env]]
                elif t:
                    assert not segments.carries[columns[t, env]]
                else:
                    assert segments.carries[columns[t, env]] and segments.column[columns[t, env]] == env


def test_packing_wastes_little():
    """32 steps of 8 environments with episodes of 20: one column a segment would be 20 of them."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 20, 200).tolist()
    column, offset = pack([32, *lengths], [True] + [False] * 200, [True] + [False] * 200)
    assert max(map(sum, zip(offset, [32, *lengths], strict=True))) == 32
    assert (column.max() + 1) * 32 < 1.15 * (sum(lengths) + 32)
