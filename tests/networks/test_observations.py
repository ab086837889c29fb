import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.networks.observations import (
    PictureConfig,
    Planes,
    bound,
    flat_size,
    flatten,
    is_picture,
    leaf_observations,
    leaf_spaces,
)


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


def test_flat_pictures_are_scaled_and_flat_bytes_are_not():
    assert flatten(pictures(2, 2), torch.full((1, 2, 2), 51, dtype=torch.uint8)).tolist() == [
        pytest.approx([0.2] * 4)
    ]
    assert flatten(pictures(2), torch.full((1, 2), 51, dtype=torch.uint8)).tolist() == [[51, 51]]
    assert flat_size(pictures(2, 2)) == 4
