import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import palaestra


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def count_env():
    """An environment class as a notebook's cell defines one: no module has it."""

    class Count(gymnasium.Env):
        observation_space = spaces.Box(0, 1, (1,))
        action_space = spaces.Discrete(2)

        def __init__(self, length=5):
            self.length = length

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.time = 0
            return np.zeros(1, np.float32), {}

        def step(self, action):
            self.time += 1
            obs = np.full(1, self.time / self.length, np.float32)
            return obs, float(action), self.time >= self.length, False, {}

    return Count


@pytest.fixture
def train():
    """Train for a moment, silently."""

    def train(agent="ppo", env="palaestra/Corridor-v0", **options):
        defaults = {
            "steps": 128,
            "num_envs": 2,
            "evaluate_episodes": 2,
            "evaluate_every": 64,
            "track": "none",
        }
        if agent == "ppo":
            defaults["agent_options"] = {"rollout_length": 16}
        return palaestra.train(agent, env, **({"progress": False} | defaults | options))

    return train
