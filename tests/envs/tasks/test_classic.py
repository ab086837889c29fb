"""The same worlds as Gymnasium's, seen differently."""

import gymnasium
import numpy as np
import pytest

from palaestra.envs.tasks.classic import draw_cartpole, draw_pendulum

TWINS = {
    "palaestra/CartPoleNoVel-v0": ("CartPole-v1", [0, 2]),
    "palaestra/PendulumNoVel-v0": ("Pendulum-v1", [0, 1]),
    "palaestra/MountainCarContinuousNoVel-v0": ("MountainCarContinuous-v0", [0]),
}


def swing(obs, generator, env_id):
    """Actions that go through much of the world: balance, swing up, and reach the top of the hill."""
    if "CartPole" in env_id:
        return int(obs[2] + 0.3 * obs[3] > 0)
    speed = obs[-1]
    return np.array([np.sign(speed) * generator.uniform(0.5, 1)], np.float32)


@pytest.mark.parametrize("env_id", TWINS)
def test_same_seeds_same_actions_same_world(env_id):
    twin_id, shown = TWINS[env_id]
    ours, theirs = gymnasium.make(env_id), gymnasium.make(twin_id)
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps
    assert ours.action_space == theirs.action_space
    np.testing.assert_array_equal(ours.observation_space.high, theirs.observation_space.high[shown])
    generator, ends = np.random.default_rng(0), []
    for seed in range(3):
        (obs, _), (full, _) = ours.reset(seed=seed), theirs.reset(seed=seed)
        np.testing.assert_allclose(obs, full[shown], atol=1e-6)
        done = False
        while not done:
            action = swing(full, generator, env_id)
            full, *expected, _ = theirs.step(action)
            obs, *got, _ = ours.step(action)
            # Theirs rounds to single precision in every step here and there.
            np.testing.assert_allclose(obs, full[shown], atol=2e-4)
            np.testing.assert_allclose(got[0], expected[0], atol=2e-3)
            assert got[1:] == expected[1:]
            done = any(got[1:])
        ends.append(tuple(got[1:]))
    if "Mountain" in env_id:
        assert (True, False) in ends


def test_pixels_follow_the_same_dynamics():
    for name in ("CartPole", "Pendulum"):
        pixels = gymnasium.make(f"palaestra/{name}Pixels-v0")
        vectors = gymnasium.make(f"palaestra/{name}NoVel-v0")
        pixels.reset(seed=3), vectors.reset(seed=3)
        for _ in range(5):
            action = pixels.action_space.sample()
            assert pixels.step(action)[1:] == vectors.step(action)[1:]
        np.testing.assert_array_equal(pixels.unwrapped.worlds, vectors.unwrapped.worlds)


def center(picture, rows):
    """Column of the centre of the light in some rows."""
    light = picture[rows].astype(float).sum(0)
    return (light * np.arange(len(light))).sum() / light.sum()


def test_a_longer_pole_falls_as_gymnasiums_does():
    ours, theirs = gymnasium.make("palaestra/CartPolePixels-v0", half_pole=0.8), gymnasium.make("CartPole-v1")
    twin = theirs.unwrapped
    twin.length, twin.polemass_length = 0.8, 0.08
    full, _ = theirs.reset(seed=1)
    ours.reset(seed=1)
    for step in range(40):
        full = theirs.step(step % 3 != 0)[0]
        ours.step(step % 3 != 0)
        np.testing.assert_allclose(ours.unwrapped.worlds[0], full, atol=1e-5)
        if abs(full[2]) > 0.2:
            break
    assert step > 5


def test_dark_on_light():
    light, dark = (gymnasium.make("palaestra/CartPolePixels-v0", inverted=x).reset(seed=0)[0] for x in (0, 1))
    np.testing.assert_array_equal(dark, 255 - light)
    with pytest.raises(ValueError, match="half_pole must be above 0"):
        gymnasium.make("palaestra/CartPolePixels-v0", half_pole=0.0)


def test_the_cart_is_drawn_where_it_is():
    worlds = np.array([[0.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0.1, 0], [0, 0, 0.101, 0]])
    middle, right, leaning, hardly_more = draw_cartpole(worlds, 64)
    assert middle.dtype == np.uint8 and middle.max() == 255
    assert center(middle, slice(0, 64)) == pytest.approx(31.5, abs=0.1)
    assert center(right, slice(0, 64)) == pytest.approx(31.5 + 31.5 / 2.6, abs=0.1)
    # The tip leans to the right by 40 sin(0.1) pixels; a thousandth of a radian can be seen.
    assert center(leaning, slice(12, 14)) == pytest.approx(31.5 + 40 * np.sin(0.1), abs=0.3)
    assert (leaning != hardly_more).any()


def test_the_pendulum_is_drawn_where_it_is():
    up, left, right, down = draw_pendulum(np.array([0, np.pi / 2, -np.pi / 2, np.pi])[:, None], 64)
    assert up[10, 31] > 200 and up[50, 31] == 0
    assert left[31, 10] > 200 and left[31, 50] == 0
    np.testing.assert_array_equal(up, down[::-1])
    np.testing.assert_array_equal(left, right[:, ::-1])


def test_sizes():
    env = gymnasium.make("palaestra/PendulumPixels-v0", size=32)
    assert env.reset(seed=0)[0].shape == (32, 32, 1)
    with pytest.raises(ValueError, match="size must be at least 16, got 8"):
        gymnasium.make("palaestra/PendulumPixels-v0", size=8)
