import numpy as np
import pytest

from palaestra.envs.checking.check import check_environment
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.tasks.corridor import LEFT, RIGHT, Corridor


def test_the_way_to_the_right_end_by_hand():
    env = Corridor(size=4)
    env.reset(seed=0)
    steps = [env.step(RIGHT)[:4] for _ in range(2)]
    coin = float(env.coin)
    np.testing.assert_allclose(steps[0][0], [2 / 3, coin])
    np.testing.assert_allclose(steps[1][0], [1, coin])
    assert [step[1:] for step in steps] == [(-0.01, False, False), (1.0, True, False)]


def test_the_coin_is_paid_once_and_lies_there_every_other_time():
    env = Corridor()
    coins = []
    for seed in range(200):
        obs, _ = env.reset(seed=seed)
        coins.append(obs[1])
        rewards = [env.step(action)[1] for action in (LEFT, LEFT, RIGHT, LEFT)]
        assert rewards == [0.5 if obs[1] else -0.01, -0.01, -0.01, -0.01]
    assert 70 < sum(coins) < 130


def test_a_picture():
    env = Corridor(size=5, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (20, 100, 3)


def test_it_is_sound_and_can_be_named_in_three_ways():
    assert check_environment("palaestra/Corridor-v0", {"size": 5}).errors == []
    for name in ("palaestra/Corridor-v0", "palaestra.envs.tasks.corridor:Corridor"):
        envs = make_envs(EnvSpec(name, 2, kwargs={"size": 5, "max_episode_steps": 3}))
        envs.reset()
        assert [len(envs.step([LEFT, LEFT]).episodes) for _ in range(3)] == [0, 0, 2]
    with pytest.raises(ValueError, match="size must be at least 3, got 2"):
        make_envs(EnvSpec("palaestra/Corridor-v0", kwargs={"size": 2}))
