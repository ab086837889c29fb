"""Agents in environments that forbid actions, in every layout of the mask, from the environment to the update."""

import gymnasium
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
from palaestra.networks.memories.lstm import LSTM, LSTMConfig
from palaestra.networks.memories.none import NoMemory, NoMemoryConfig
from palaestra.networks.torso import build_torso

AGENTS = {
    "ppo": (PPO, PPOConfig(rollout_length=8, batch_size=8)),
    "reinforce": (REINFORCE, REINFORCEConfig(steps_per_update=16)),
    "dqn": (DQN, DQNConfig(learning_starts=8, batch_size=8, epsilon=0.3, sequence_length=4, burn_in=0)),
    "pqn": (PQN, PQNConfig(rollout_length=8, batch_size=8, epsilon=0.3)),
}
MEMORIES = {"none": (NoMemory, NoMemoryConfig()), "lstm": (LSTM, LSTMConfig(hidden=4, readout=()))}


class Forbidding(gymnasium.Env):
    """Every step forbids other choices of each dimension, and fails when one of them is taken."""

    def __init__(self, sizes: tuple[int, ...], layout: str):
        self.sizes, self.layout = sizes, layout
        self.action_space = spaces.Discrete(sizes[0]) if len(sizes) == 1 else spaces.MultiDiscrete(sizes)
        total = sum(sizes)
        mask = {
            "row": spaces.MultiBinary(total),
            "tuple": spaces.Tuple([spaces.MultiBinary(size) for size in sizes]),
            "frames": spaces.Box(0, 1, (2, total), np.int8),
        }[layout]
        self.observation_space = spaces.Dict(x=spaces.Box(-1, 1, (3,), np.float32), action_mask=mask)

    def _obs(self):
        self.masks = []
        for size in self.sizes:
            mask = self.np_random.integers(0, 2, size).astype(np.int8)
            mask[self.np_random.integers(size)] = 1  # something is always allowed
            self.masks.append(mask)
        row = np.concatenate(self.masks)
        mask = {"row": row, "tuple": tuple(self.masks), "frames": np.stack([1 - row, row])}[self.layout]
        return {"x": self.np_random.uniform(-1, 1, 3).astype(np.float32), "action_mask": mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        for mask, choice in zip(self.masks, np.atleast_1d(action), strict=True):
            assert mask[choice], f"{action} is forbidden by {self.masks}"
        self.t += 1
        return self._obs(), float(np.sum(action)), self.t >= 5, False, {}


def batch(obs):
    if isinstance(obs, dict):
        return {key: batch(part) for key, part in obs.items()}
    return tuple(map(batch, obs)) if isinstance(obs, tuple) else obs[None]


@pytest.mark.parametrize("layout", ["row", "tuple", "frames"])
@pytest.mark.parametrize("sizes", [(4,), (2, 2), (2, 3)])
@pytest.mark.parametrize(
    ("name", "memory"), [(n, m) for n in AGENTS for m in MEMORIES if (n, m) != ("pqn", "lstm")]
)
def test_forbidden_actions_are_never_taken(name, memory, sizes, layout):
    env = Forbidding(sizes, layout)
    agent_class, config = AGENTS[name]
    memory_class, memory_config = MEMORIES[memory]
    agent = agent_class(
        config,
        env.action_space,
        lambda: build_torso(env.observation_space, MLP, memory_class, MLPConfig(hidden=(8,)), memory_config),
        seed=0,
        total_steps=100,
        device=torch.device("cpu"),
    )
    obs, _ = env.reset(seed=0)
    state, first, off = agent.initial_state(1), np.ones(1, bool), np.zeros(1, bool)
    learned = 0
    for _ in range(60):
        action, next_state = agent.act(batch(obs), state, first)
        best, _ = agent.act(batch(obs), state, first, explore=False)
        for mask, choice in zip(env.masks, np.atleast_1d(best[0]), strict=True):
            assert mask[choice]
        next_obs, reward, terminated, _, _ = env.step(action[0])
        metrics = agent.learn(
            Transition(
                batch(obs),
                action,
                np.array([reward], np.float32),
                np.array([terminated]),
                off,
                batch(next_obs),
                first,
                state,
                next_state,
            )
        )
        learned += bool(metrics)
        assert all(np.isfinite(float(value)) for value in metrics.values())
        obs, state, first = next_obs, next_state, np.array([terminated])
        if terminated:
            (obs, _), state = env.reset(), agent.initial_state(1)
    assert learned >= 2
