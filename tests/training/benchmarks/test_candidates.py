"""`envs check` names the agents that can train: they are built, act and learn a little."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.checking.check import check_environment
from palaestra.training.benchmarks.candidates import trainable_agents


class Walk(gymnasium.Env):
    """Any action space will do."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, space="discrete"):
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = {
            "discrete": spaces.Discrete(3),
            "bounded": spaces.Box(-1, 1, (2,), np.float32),
            "unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            "bits": spaces.MultiBinary(3),
            "wide": spaces.Box(-(2**40), 2**40, (2,), np.int64),
        }[space]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        self.time += 1
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), 1.0, False, self.time == 10, {}


@pytest.fixture
def walk():
    gymnasium.register("Walk-v0", Walk)
    yield
    del gymnasium.registry["Walk-v0"]


@pytest.mark.parametrize(
    ("space", "agents"),
    [
        ("discrete", ("dqn", "ppo", "pqn", "reinforce")),
        ("bounded", ("ddpg", "ppo", "reinforce")),
        ("unbounded", ("ppo", "reinforce")),
        ("bits", ("ppo", "reinforce")),
    ],
)
def test_the_agents_that_can_train(walk, space, agents):
    report = check_environment("Walk-v0", {"space": space}, processes=False, agents=trainable_agents)
    assert report.ok and report.agents == agents


def test_that_none_can_is_an_error_which_says_why(walk):
    report = check_environment("Walk-v0", {"space": "wide"}, processes=False, agents=trainable_agents)
    (error,) = report.errors
    assert report.agents == () and error.startswith("no agent can train in it (ddpg: takes float Box actions")
    assert "dqn, pqn: takes Discrete, MultiDiscrete" in error


def test_what_an_agent_does_not_survive_is_why_it_is_not_named(walk, monkeypatch):
    from palaestra.agents.ppo import PPO

    def fail(*arguments, **options):
        raise IndexError("no such action")

    monkeypatch.setattr(PPO, "act", fail)
    report = check_environment("Walk-v0", {}, processes=False, agents=trainable_agents)
    assert report.ok and report.agents == ("dqn", "pqn", "reinforce")
