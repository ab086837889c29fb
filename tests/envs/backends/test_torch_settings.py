"""Whatever an environment does to torch is undone by the time that its `Envs` return."""

import gymnasium
import numpy as np
import pytest
import torch

from palaestra.envs.backends.torch_settings import restore_torch_settings
from palaestra.envs.make import EnvSpec, make_envs


def meddle():
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)


class Meddling(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        meddle()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        meddle()
        return np.zeros(3, np.float32), {}

    def step(self, action):
        meddle()
        return np.zeros(3, np.float32), 0.0, False, False, {}


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register("Meddling-v0", Meddling, max_episode_steps=3)
    yield
    del gymnasium.registry["Meddling-v0"]
    restore_torch_settings()


def untouched():
    return torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


def test_settings_are_back_after_every_call():
    envs = make_envs(EnvSpec("Meddling-v0", num_envs=2))
    assert untouched()
    envs.reset()
    assert untouched()
    for _ in range(7):  # two ends
        envs.step(np.zeros(2, np.int64))
        assert untouched()
    envs.begin_next()
    assert untouched()
    envs.close()
