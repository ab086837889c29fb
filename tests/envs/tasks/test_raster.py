import numpy as np
import pytest

from palaestra.envs.tasks.raster import CHUNK, draw_line


def drawn(start, end, radius, size=7, **kwargs):
    pictures = np.zeros((1, size, size), np.float32)
    draw_line(pictures, np.array([start], float), np.array([end], float), radius, **kwargs)
    return pictures[0]


def test_a_level_line_by_hand():
    picture = drawn((2, 3), (4, 3), 0.75)
    # On the line 1; a pixel beside it min(1, 0.75 + 0.5 - 1); two pixels away nothing.
    assert picture[3].tolist() == [0, 0.25, 1, 1, 1, 0.25, 0]
    assert picture[2, 2:5].tolist() == picture[4, 2:5].tolist() == [0.25] * 3
    assert picture[2, 1] == 0  # the round end: further than 1.25
    assert not picture[[0, 1, 5, 6]].any()


def test_a_slanted_line_is_symmetric():
    picture = drawn((1, 1), (5, 5), 1.0)
    np.testing.assert_allclose(picture, picture.T)
    np.testing.assert_allclose(picture, picture[::-1, ::-1], atol=1e-6)
    assert picture[3, 4] == pytest.approx(1.5 - 0.5**0.5)


def test_a_tenth_of_a_pixel_shows():
    assert drawn((2, 3), (4, 3.1), 0.75).tolist() != drawn((2, 3), (4, 3), 0.75).tolist()


def test_lines_outside_leave_nothing_and_over_the_edge_a_part():
    assert not drawn((-9, -9), (-8, -5), 1).any()
    assert drawn((-3, 3), (1, 3), 0.5)[3].tolist() == [1, 1, 0, 0, 0, 0, 0]


def test_brighter_wins():
    pictures = np.full((1, 5, 5), 0.4, np.float32)
    draw_line(pictures, np.array([[2.0, 2]]), np.array([[2.0, 2]]), 0.5, brightness=0.9)
    assert pictures[0, 2, 2] == np.float32(0.9) and pictures[0, 0, 0] == np.float32(0.4)


def test_many_pictures_are_as_one_by_one():
    generator = np.random.default_rng(0)
    start, end = generator.uniform(0, 12, (2, 2 * CHUNK + 3, 2))
    together = np.zeros((len(start), 12, 12), np.float32)
    draw_line(together, start, end, 1.0)
    for picture, one, other in zip(together, start, end, strict=True):
        np.testing.assert_allclose(picture, drawn(one, other, 1.0, size=12), atol=1e-6)
