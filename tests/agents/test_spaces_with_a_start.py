"""Observations and actions whose numbers begin above 0: a row of zeros is then neither, wherever it comes from."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.agent import Transition
from palaestra.agents.dqn import DQN, DQNConfig
from palaestra.agents.ppo import PPO, PPOConfig
from palaestra.agents.pqn import PQN, PQNConfig
from palaestra.agents.reinforce import REINFORCE, REINFORCEConfig
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.torso import build_torso

from .memories import MEMORIES

SPACES = [spaces.Discrete(5, start=1), spaces.MultiDiscrete([3, 4], start=[2, 5])]
REPLAY = {"learning_starts": 0, "batch_size": 16, "sequence_length": 5, "burn_in": 2}
WINDOWS = {"rollout_length": 7, "batch_size": 8}
AGENTS = {
    "reinforce": (REINFORCE, REINFORCEConfig(steps_per_update=30, batch_size=8)),
    "reinforce without a baseline": (REINFORCE, REINFORCEConfig(steps_per_update=30, baseline="none")),
    "ppo": (PPO, PPOConfig(**WINDOWS, sequence_length=4)),
    "dqn": (DQN, DQNConfig(**REPLAY, n_step=2)),
    "pqn": (PQN, PQNConfig(**WINDOWS)),
}
LENGTHS = np.array([3, 11, 1])


def draw(space, generator, count):
    """Elements of a Discrete or MultiDiscrete space."""
    n = space.n if isinstance(space, spaces.Discrete) else space.nvec
    size = count if isinstance(space, spaces.Discrete) else (count, len(n))
    return space.start + generator.integers(0, n, size)


@pytest.mark.parametrize(
    ("obs_space", "action_space"), [SPACES, SPACES[::-1]], ids=["discrete", "multi-discrete"]
)
@pytest.mark.parametrize("memory", ["none", "gru", "transformer"])
@pytest.mark.parametrize("name", AGENTS)
def test_every_row_is_a_step_that_was_made(name, memory, obs_space, action_space):
    """Episodes of their own lengths in every environment, half of them truncated, so that columns differ in length."""
    agent_class, config = AGENTS[name]
    if agent_class is PQN and memory != "none":
        pytest.skip("PQN has no memory")
    torch.manual_seed(0)
    agent = agent_class(
        config,
        action_space,
        lambda: build_torso(obs_space, MLP, MEMORIES[memory][0], MLPConfig(hidden=(8,)), MEMORIES[memory][1]),
        seed=0,
        total_steps=1000,
        device=torch.device("cpu"),
        compile=False,
    )
    generator = np.random.default_rng(0)
    obs, first, state = draw(obs_space, generator, 3), np.ones(3, bool), agent.initial_state(3)
    learned = 0
    for t in range(1, 60):
        action, next_state = agent.act(obs, state, first)
        next_obs = draw(obs_space, generator, 3)
        ends = t % LENGTHS == 0
        truncated = ends & (t // LENGTHS % 2 == 0)
        reward = generator.standard_normal(3)
        metrics = agent.learn(
            Transition(obs, action, reward, ends & ~truncated, truncated, next_obs, first, state, next_state)
        )
        learned += bool(metrics)
        assert all(np.isfinite(float(value)) for value in metrics.values())
        obs = np.where(ends.reshape(-1, *[1] * (obs.ndim - 1)), draw(obs_space, generator, 3), next_obs)
        first, state = ends, next_state
    assert learned >= 3
