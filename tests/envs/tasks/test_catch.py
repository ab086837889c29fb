import gymnasium
import numpy as np
import pytest

import palaestra.envs  # noqa: F401  registers it
from palaestra.envs.make import EnvSpec, make_envs


def test_by_hand():
    env = gymnasium.make("palaestra/Catch-v0", height=4, width=3)
    obs, _ = env.reset(seed=0)
    env.unwrapped.worlds[0, 0] = 0  # the ball falls on the left; the paddle stands in the middle
    assert obs.shape == (4, 3, 1) and obs.dtype == np.uint8
    obs, reward, terminated, _, _ = env.step(2)
    assert (obs[..., 0] // 255).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert (reward, terminated) == (0, False)
    env.step(0)
    obs, reward, terminated, truncated, _ = env.step(0)
    assert (obs[..., 0] // 255).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert (reward, terminated, truncated) == (1, True, False)


def test_a_miss():
    env = gymnasium.make("palaestra/Catch-v0")
    env.reset(seed=0)
    env.unwrapped.worlds[0, 0] = 4
    rewards = [env.step(0)[1] for _ in range(9)]
    assert rewards == [0] * 8 + [-1]


def test_all_that_can_be_shown():
    small, large, flat = (
        gymnasium.make("palaestra/Catch-v0", **kwargs) for kwargs in ({}, {"pixels": 3}, {"flat": True})
    )
    for seed in range(3):
        picture = small.reset(seed=seed)[0]
        assert large.reset(seed=seed)[0][::3, ::3].tolist() == picture.tolist()
        assert large.reset(seed=seed)[0].sum() == 9 * picture.sum()
        assert flat.reset(seed=seed)[0].tolist() == (picture.ravel() / 255).tolist()
    assert flat.observation_space.dtype == np.float32


def test_chance_and_the_best():
    def mean_return(policy):
        envs = make_envs(EnvSpec("palaestra/Catch-v0", 64, kwargs={"flat": True}))
        obs, total = envs.reset(), []
        for _ in range(9 * 20):
            step = envs.step(policy(obs.reshape(64, 10, 5)))
            obs = step.obs
            total += [episode.episode_return for episode in step.episodes]
        return np.mean(total)

    generator = np.random.default_rng(0)
    assert mean_return(lambda board: generator.integers(3, size=64)) == pytest.approx(-0.6, abs=0.06)
    assert mean_return(lambda board: np.ones(64, int)) == pytest.approx(-0.6, abs=0.06)

    def follow(board):
        return np.sign(board[:, :-1].any(1).argmax(-1) - board[:, -1].argmax(-1)) + 1

    assert mean_return(follow) == 1
