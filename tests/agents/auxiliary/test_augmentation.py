"""Views of observations: what moves, what stays, and that the space is kept."""

import numpy as np
import pytest
from gymnasium import spaces

from palaestra.agents.auxiliary.augmentation import Augmentation
from palaestra.agents.auxiliary.auxiliary import RecentSteps
from palaestra.agents.auxiliary.predict import Predict, PredictConfig
from palaestra.networks.encoders.cnn import CNN, CNNConfig


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((6, 6), (0, 1)),
        ((6, 7, 3), (0, 1)),
        ((3, 6, 7), (1, 2)),
        ((2, 6, 6, 1), (1, 2)),
        ((2, 1, 6, 6), (2, 3)),
    ],
)
def test_pictures_are_shifted_whole_and_by_different_ways(shape, axes):
    space = spaces.Box(0, 255, shape, np.uint8)
    generator = np.random.default_rng(0)
    obs = generator.integers(0, 255, (40, *shape)).astype(np.uint8)
    views = Augmentation(space, 2, 0.1, 0.1)(obs, np.random.default_rng(1))
    assert views.shape == obs.shape and views.dtype == np.uint8
    seen = set()
    for view, picture in zip(views, obs, strict=True):
        # Away from the border, some shift by up to two pixels gives it.
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                rolled = np.roll(picture, (down, right), axes)
                inner = tuple(slice(2, -2) if axis in axes else slice(None) for axis in range(len(shape)))
                if np.array_equal(rolled[inner], view[inner]):
                    matches.append((down, right))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) > 10 and max(map(max, seen)) == 2 and min(map(min, seen)) == -2


def test_the_border_is_repeated_and_the_default_is_a_twentieth():
    space = spaces.Box(0, 255, (40, 40), np.uint8)
    obs = np.arange(40, dtype=np.uint8)[None, None].repeat(100, 0).repeat(40, 1)
    views = Augmentation(space, None, 0, 0)(obs, np.random.default_rng(0))
    shifts = views[:, 0, 20].astype(int) - 20
    assert set(shifts) == {-2, -1, 0, 1, 2}
    assert views[shifts == 2][0, 0, -3:].tolist() == [39, 39, 39]


def test_vectors_get_noise_in_their_own_units_and_values_of_other_rows():
    space = spaces.Dict(
        small=spaces.Box(-np.inf, np.inf, (2,), np.float32),
        choice=spaces.Discrete(5, start=3),
        still=spaces.Box(0, 1, (1,), np.float32),
    )
    generator = np.random.default_rng(0)
    obs = {
        "small": (generator.standard_normal((5000, 2)) * [1, 100]).astype(np.float32),
        "choice": generator.integers(3, 8, 5000),
        "still": np.ones((5000, 1), np.float32),
    }
    only_noise = Augmentation(space, None, 0.1, 0.0)(obs, np.random.default_rng(1))
    np.testing.assert_allclose((only_noise["small"] - obs["small"]).std(0), [0.1, 10], rtol=0.05)
    assert (only_noise["choice"] == obs["choice"]).all() and (only_noise["still"] == 1).all()
    only_masking = Augmentation(space, None, 0.0, 0.25)(obs, np.random.default_rng(1))
    changed = (only_masking["small"] != obs["small"]).mean(0)
    np.testing.assert_allclose(changed, 0.25, atol=0.03)
    assert np.isin(only_masking["small"][:, 1], obs["small"][:, 1]).all()
    assert set(only_masking["choice"]) == {3, 4, 5, 6, 7} and only_masking["choice"].dtype == np.int64


def test_the_same_generator_gives_the_same_views():
    space = spaces.Box(-1, 1, (3,), np.float32)
    obs = np.ones((8, 3), np.float32) * np.arange(8)[:, None].astype(np.float32)
    one, same, other = (Augmentation(space, None, 0.1, 0.1)(obs, np.random.default_rng(s)) for s in (0, 0, 1))
    assert (one == same).all() and (one != other).any()
    assert obs[:, 0].tolist() == list(range(8))


def test_pictures_are_shifted_as_the_encoder_reads_them():
    """12 planes of 12 x 16, which would be taken for 16 planes of 12 x 12: each is one number, so none may change."""
    space = spaces.Box(0, 255, (12, 12, 16), np.uint8)
    encoder = CNN(space, CNNConfig(channel_axis="first"))
    auxiliary = Predict(encoder, space, RecentSteps(spaces.Discrete(2), 8, 0), PredictConfig())
    obs = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None, None], (5, *space.shape)).copy()
    auxiliary.augment.masking = 0
    assert np.array_equal(auxiliary.augment(obs, np.random.default_rng(0)), obs)
