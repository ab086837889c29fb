import gymnasium
import numpy as np
import pytest

import palaestra.envs  # noqa: F401  registers the probes


def play(env, action, seed=0):
    """Observations, rewards and length of one episode under one action."""
    obs, _ = env.reset(seed=seed)
    seen, rewards = [float(obs[0])], []
    for _ in range(5):
        obs, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        assert not truncated
        if terminated:
            return seen, rewards
        seen.append(float(obs[0]))
    raise AssertionError("the episode does not end")


def signs(env):
    """Seeds whose episodes show -1 and +1."""
    by_sign = {float(env.reset(seed=seed)[0][0]): seed for seed in range(20)}
    assert sorted(by_sign) == [-1, 1]
    return by_sign


@pytest.mark.parametrize("action", [0, 1])
def test_constant(action):
    assert play(gymnasium.make("palaestra/ProbeConstant-v0"), action) == ([0.0], [1.0])


@pytest.mark.parametrize("action", [0, 1])
def test_observation(action):
    env = gymnasium.make("palaestra/ProbeObservation-v0")
    for sign, seed in signs(env).items():
        assert play(env, action, seed) == ([sign], [sign])


@pytest.mark.parametrize("action", [0, 1])
def test_delayed(action):
    assert play(gymnasium.make("palaestra/ProbeDelayed-v0"), action) == ([0.0, 1.0], [0.0, 1.0])


def test_action():
    env = gymnasium.make("palaestra/ProbeAction-v0")
    assert play(env, 0) == ([0.0], [-1.0])
    assert play(env, 1) == ([0.0], [1.0])


def test_action_observation():
    env = gymnasium.make("palaestra/ProbeActionObservation-v0")
    seeds = signs(env)
    rewards = {(sign, a): play(env, a, seeds[sign])[1] for sign in (-1, 1) for a in (0, 1)}
    assert rewards == {(-1, 0): [1.0], (-1, 1): [-1.0], (1, 0): [-1.0], (1, 1): [1.0]}


def test_action_continuous():
    env = gymnasium.make("palaestra/ProbeActionContinuous-v0")
    for number, reward in ((0.5, 1.0), (0.0, 0.75), (1.0, 0.75), (-1.0, -1.25)):
        assert play(env, np.array([number], np.float32)) == ([0.0], [reward])


def test_action_observation_continuous():
    env = gymnasium.make("palaestra/ProbeActionObservationContinuous-v0")
    seeds = signs(env)
    for sign, number, reward in ((1, 0.5, 1.0), (1, -0.5, 0.0), (-1, -0.5, 1.0), (-1, 0.5, 0.0)):
        assert play(env, np.array([number], np.float32), seeds[sign]) == ([sign], [reward])


@pytest.mark.parametrize("name", ["Constant", "Observation", "Delayed"])
def test_value_probes_have_continuous_actions_too(name):
    env = gymnasium.make(f"palaestra/Probe{name}-v0", continuous=True)
    assert isinstance(env.action_space, gymnasium.spaces.Box)
    _, rewards = play(env, np.zeros(1, np.float32))
    assert abs(rewards[-1]) == 1
