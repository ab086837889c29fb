import tracemalloc

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.networks.observations import PictureConfig, Planes, torch_flatten
from palaestra.networks.pictures import bound, bounded, is_bounded, is_picture
from palaestra.networks.tree import tree_map
from palaestra.networks.vectors import flat_size, leaf_observations, leaf_spaces, numpy_flatten, numpy_vector


def pictures(*shape, dtype=np.uint8, high=255):
    return spaces.Box(0, high, shape, dtype)


IS_PICTURE = {
    "grey": (pictures(84, 84), True),
    "colour": (pictures(64, 64, 3), True),
    "channel first": (pictures(4, 84, 84), True),
    "stack of colour": (pictures(4, 64, 64, 3), True),
    "MinAtar": (pictures(10, 10, 4, dtype=bool, high=1), True),
    "MiniGrid": (pictures(7, 7, 3), True),
    "floats": (pictures(64, 64, 3, dtype=np.float32, high=1), True),
    "memory of a game": (pictures(128), False),
    "stack of vectors": (pictures(4, 8, dtype=np.float32, high=1), False),
    "unbounded": (spaces.Box(-np.inf, np.inf, (3, 4, 5)), False),
    "too many axes": (pictures(2, 3, 4, 5, 6), False),
    "discrete": (spaces.Discrete(3), False),
    "dict": (spaces.Dict(a=pictures(9, 9)), False),
}


@pytest.mark.parametrize(("space", "expected"), IS_PICTURE.values(), ids=IS_PICTURE)
def test_what_is_a_picture(space, expected):
    assert is_picture(space) == expected


def planes(space, **config):
    return Planes(space, PictureConfig(**config), "cnn")


# (shape, options, shape of the planes)
LAYOUTS = [
    ((5, 6), {}, (1, 5, 6)),
    ((5, 6, 1), {}, (1, 5, 6)),
    ((5, 6, 3), {}, (3, 5, 6)),
    ((4, 8, 9), {}, (4, 8, 9)),
    ((8, 8, 8), {}, (8, 8, 8)),
    ((8, 8, 12), {}, (12, 8, 8)),
    ((12, 8, 8), {}, (12, 8, 8)),
    ((64, 64, 9), {}, (9, 64, 64)),
    ((2, 8, 8, 12), {}, (24, 8, 8)),
    ((8, 9, 8), {}, (8, 8, 9)),
    ((2, 5, 6, 3), {}, (6, 5, 6)),
    ((2, 3, 5, 6), {}, (6, 5, 6)),
    ((8, 9, 4), {"channel_axis": "first"}, (8, 9, 4)),
    ((4, 8, 9), {"channel_axis": "last"}, (9, 4, 8)),
]


@pytest.mark.parametrize(("shape", "options", "expected"), LAYOUTS)
def test_layouts(shape, options, expected):
    module = planes(pictures(*shape), **options)
    assert (module.channels, module.height, module.width) == expected
    out = module(torch.zeros(7, *shape, dtype=torch.uint8))
    assert out.shape == (7, *expected) and out.dtype == torch.float32


def test_every_pixel_comes_to_its_place():
    last = torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8).reshape(1, 2, 4, 5, 3)  # [N, frames, H, W, C]
    out = planes(pictures(2, 4, 5, 3), scale=1)(last)
    first = last.movedim(-1, 2)
    assert torch.equal(out, planes(pictures(2, 3, 4, 5), scale=1)(first))
    for frame in range(2):
        for color in range(3):
            assert torch.equal(out[0, 3 * frame + color], last[0, frame, :, :, color].float())


@pytest.mark.parametrize(
    ("space", "divisor"),
    [
        (pictures(4, 4, 1), 255),
        (pictures(4, 4, 1, high=10), 10),
        (pictures(4, 4, 1, dtype=np.float32, high=1), 1),
        (pictures(4, 4, 1, dtype=bool, high=1), 1),
        (spaces.Box(-2, 1, (4, 4, 1), np.float32), 2),
        (spaces.Box(-np.inf, np.inf, (4, 4, 1), np.float32), 1),
    ],
)
def test_scales(space, divisor):
    assert bound(space) == divisor
    assert planes(space)(torch.ones(1, 4, 4, 1)).unique().tolist() == pytest.approx([1 / divisor])
    assert planes(space, scale=4)(torch.ones(1, 4, 4, 1)).unique().tolist() == [0.25]


def test_others_are_refused():
    with pytest.raises(TypeError, match=r"^encoder 'cnn' takes pictures.* got Discrete\(3\)$"):
        planes(spaces.Discrete(3))


def test_leaves_come_in_the_order_of_the_space():
    space = spaces.Dict(b=spaces.Discrete(2), a=spaces.Tuple([spaces.Discrete(3), spaces.Discrete(4)]))
    obs = {"a": ("a0", "a1"), "b": "b"}
    assert [leaf.n for leaf in leaf_spaces(space)] == [
        {"b": 2, "a0": 3, "a1": 4}[name] for name in leaf_observations(space, obs)
    ]
    assert leaf_observations(space, dict(reversed(obs.items()))) == leaf_observations(space, obs)
    assert leaf_spaces(spaces.Discrete(2)) == [spaces.Discrete(2)]


def test_flat_pictures_and_bytes_are_scaled():
    for shape in ((2, 2), (2,), (3, 2)):  # a picture, bytes, and a stack of bytes
        space, size = pictures(*shape), int(np.prod(shape))
        obs = np.full((1, *shape), 51, np.uint8)
        for flat in (torch_flatten(space)(torch.from_numpy(obs)), numpy_flatten(space)(obs)):
            assert flat.tolist() == [pytest.approx([0.2] * size)]
        assert flat_size(space) == size


def test_other_numbers_are_not_scaled():
    space = spaces.Box(0, 255, (2,), np.float32)
    assert torch_flatten(space)(torch.full((1, 2), 51.0)).tolist() == [[51, 51]]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5, start=-2),
        spaces.MultiDiscrete([2, 3], start=[4, 0]),
        spaces.MultiDiscrete([[2, 3], [4, 1]]),
        spaces.Discrete(5, dtype=np.uint64),
        spaces.MultiDiscrete([2, 3], start=[4, 0], dtype=np.uint16),
        spaces.MultiBinary(4),
        spaces.Box(-1, 1, (2, 3)),
        spaces.Tuple([spaces.Discrete(2), spaces.Dict(a=pictures(3), b=spaces.Discrete(3))]),
    ],
)
def test_vectors_are_the_same_in_numpy_and_torch(space):
    batch = gymnasium.vector.utils.concatenate(
        space,
        [space.sample() for _ in range(6)],
        gymnasium.vector.utils.create_empty_array(space, 6),
    )
    flat = numpy_flatten(space)(batch)
    assert flat.dtype == np.float32 and flat.shape == (6, sum(map(flat_size, leaf_spaces(space))))
    np.testing.assert_array_equal(flat, torch_flatten(space)(tree_map(torch.as_tensor, batch)).numpy())


def test_one_hot_vectors_need_no_table():
    """A table of 20,000 x 20,000 numbers would be 1.6 GB."""
    tracemalloc.start()
    encode = numpy_vector(spaces.MultiDiscrete([20_000, 3]))
    vectors = encode(np.array([[19_999, 0], [5, 2]]))
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()
    assert [np.flatnonzero(row).tolist() for row in vectors] == [[19_999, 20_000], [5, 20_002]]


def test_too_many_choices_for_a_vector_are_refused():
    with pytest.raises(
        ValueError, match=r"^Discrete\(200000\) has 200,000 choices, of which at most 100,000"
    ):
        flat_size(spaces.Discrete(200_000))
    assert flat_size(spaces.Box(0, 1, (200_000,))) == 200_000


@pytest.mark.parametrize("wrong", [-1, 3])
def test_choices_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="not among"):
        numpy_vector(spaces.MultiDiscrete([3, 3]))(np.array([[0, wrong]]))


HUGE = np.finfo(np.float32)


def test_huge_bounds_are_none():
    huge = spaces.Box(HUGE.min, HUGE.max, (8, 8, 3), np.float32)
    assert not is_bounded(huge) and not is_picture(huge) and bound(huge) == 1
    assert is_bounded(spaces.Box(-1e6, 1e6, (2,))) and not is_bounded(spaces.Box(0, 2e6, (2,)))
    mixed = spaces.Box(np.array([-1, HUGE.min, 0], np.float32), np.array([1, 5, np.inf], np.float32))
    assert bounded(mixed).tolist() == [True, False, False]
