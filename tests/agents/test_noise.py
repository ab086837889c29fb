import numpy as np
import pytest

from palaestra.agents.noise import GaussianNoise, OrnsteinUhlenbeckNoise, make_noise

NAMES = ["gaussian", "ornstein-uhlenbeck"]


def walk(noise, steps, num_envs, size=1, std=0.5):
    """Noise `[T, B, size]` of one long episode."""
    first = np.ones(num_envs, bool)
    rows = []
    for _ in range(steps):
        rows.append(noise.sample(std, size, first).copy())
        first = np.zeros(num_envs, bool)
    return np.stack(rows)


def test_gaussian_noise_is_white():
    noise = walk(GaussianNoise(np.random.default_rng(0)), steps=2000, num_envs=10, size=3, std=0.2)
    assert noise.dtype == np.float32 and noise.shape == (2000, 10, 3)
    assert noise.mean() == pytest.approx(0, abs=0.003)
    assert noise.std() == pytest.approx(0.2, rel=0.01)
    # Independent over time, environments and dimensions.
    assert np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    correlations = np.corrcoef(noise.reshape(2000, 30).T) - np.eye(30)
    assert np.abs(correlations).max() < 0.1


def test_ornstein_uhlenbeck_noise_by_hand():
    noise, generator = OrnsteinUhlenbeckNoise(np.random.default_rng(7)), np.random.default_rng(7)
    first = np.array([True, True])
    one = noise.sample(0.5, 1, first).copy()
    two = noise.sample(0.5, 1, ~first)
    kicks = generator.standard_normal((2, 2, 1), dtype=np.float32)
    # theta = 0.15 and dt = 0.01: the walk keeps 0.9985 of itself, a kick is 0.5 * sqrt(0.01) = 0.05 wide.
    np.testing.assert_allclose(one, 0.05 * kicks[0], rtol=1e-6)
    np.testing.assert_allclose(two, 0.9985 * 0.05 * kicks[0] + 0.05 * kicks[1], rtol=1e-5)


def test_ornstein_uhlenbeck_noise_settles_at_its_stationary_deviation():
    noise = walk(OrnsteinUhlenbeckNoise(np.random.default_rng(0)), steps=6000, num_envs=2000, std=0.5)[..., 0]
    # A walk x <- a x + b n settles at variance b^2 / (1 - a^2); here that is close to (std / sqrt(2 theta))^2.
    expected = 0.05 / np.sqrt(1 - 0.9985**2)
    assert expected == pytest.approx(0.5 / np.sqrt(2 * 0.15), rel=1e-3)
    assert noise[-1].std() == pytest.approx(expected, rel=0.05)
    assert noise[-1].mean() == pytest.approx(0, abs=0.06)
    # One step after a reset it is a single kick, and it remembers: after 667 steps 1 / e of the correlation is left.
    assert noise[0].std() == pytest.approx(0.05, rel=0.05)
    assert np.corrcoef(noise[5000], noise[5667])[0, 1] == pytest.approx(np.exp(-1), abs=0.06)


def test_an_episode_end_resets_the_walk_of_its_own_environment():
    noise = OrnsteinUhlenbeckNoise(np.random.default_rng(0))
    before = walk(noise, steps=500, num_envs=3, size=2)[-1]
    after = noise.sample(0.5, 2, np.array([False, True, False]))
    assert np.abs(before).min() > 0.005
    moved = after - 0.9985 * before
    assert np.abs(moved[[0, 2]]).max() < 0.05 * 4
    kick = after[1]  # nothing but one kick, wherever the walk was
    assert np.abs(kick).max() < 0.05 * 4 and np.abs(before[1]).max() > 0.05 * 4


@pytest.mark.parametrize("name", NAMES)
def test_noise_goes_on_exactly(name):
    noise, fresh = (make_noise(name, np.random.default_rng(seed)) for seed in (0, 1))
    walk(noise, steps=5, num_envs=3)
    fresh.load_state_dict({key: value.copy() for key, value in noise.state_dict().items()})
    fresh.generator.bit_generator.state = noise.generator.bit_generator.state
    for first in ([False] * 3, [True, False, False]):
        expected = noise.sample(0.3, 1, np.array(first)).copy()
        np.testing.assert_array_equal(fresh.sample(0.3, 1, np.array(first)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_noise_of_scale_zero_is_none(name):
    assert not walk(make_noise(name, np.random.default_rng(0)), steps=3, num_envs=2, std=0.0).any()
