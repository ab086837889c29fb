"""An environment that changes what torch holds for the whole program."""

import gymnasium
import numpy as np
import pytest
import torch

from palaestra.training.cli.main import run


class OfTorch(gymnasium.Env):
    """Wants numbers of its own kind, from the start or from its first step on."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, when):
        self.when = when
        self.change("made")

    def change(self, moment):
        if moment == self.when:
            torch.set_grad_enabled(False)
            torch.set_default_dtype(torch.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.change("stepped")
        self.time += 1
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), float(action), False, self.time == 10, {}


AGENTS = {
    "ppo": ["--agent.rollout-length", "32"],
    "dqn": ["--agent.learning-starts", "100"],
    "sb3/ppo": ["--agent.n-steps", "32", "--agent.batch-size", "32"],
}


@pytest.fixture(autouse=True)
def afterwards():
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("when", ["made", "stepped"])
@pytest.mark.parametrize("agent", AGENTS)
def test_agents_learn_from_it_all_the_same(tmp_path, agent, when):
    gymnasium.register("OfTorch-v0", OfTorch, kwargs={"when": when})
    options = ["--steps", "400", "--num-envs", "2", "--track", "none"]
    options += AGENTS[agent]
    try:
        done = run(["train", agent, "--env", "OfTorch-v0", *options, "--out", str(tmp_path / "run")])
    finally:
        del gymnasium.registry["OfTorch-v0"]
    assert done == 0


def test_a_world_model_is_fitted_all_the_same(tmp_path):
    gymnasium.register("OfTorch-v0", OfTorch, kwargs={"when": "made"})
    words = [
        "world-model",
        "fit",
        "--env",
        "OfTorch-v0",
        "--steps",
        "200",
        "--fit.updates",
        "20",
        "--track",
        "none",
    ]
    try:
        assert run([*words, "--out", str(tmp_path / "model")]) == 0
    finally:
        del gymnasium.registry["OfTorch-v0"]
