import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.ddpg import DDPG, DDPGConfig
from palaestra.agents.dqn import DQN, DQNConfig
from palaestra.agents.ppo import PPO, PPOConfig
from palaestra.agents.pqn import PQN, PQNConfig
from palaestra.agents.reinforce import REINFORCE, REINFORCEConfig
from palaestra.agents.torsos import Normalizers, initial_state, make_joint_step, make_value_step
from palaestra.networks.encoders.capsule import Capsule
from palaestra.networks.encoders.cnn import CNN
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.q_heads import QHead, QNetwork
from palaestra.networks.torso import Encoder, build_torso

from .memories import MEMORIES
from .streams import random_transitions

CPU = torch.device("cpu")
BOX = spaces.Box(-1, 1, (3,), np.float32)
PICTURE = spaces.Box(0, 255, (12, 12, 3), np.uint8)
AGENTS = {
    "dqn": (DQN, DQNConfig(learning_starts=0, batch_size=4), spaces.Discrete(2)),
    "pqn": (PQN, PQNConfig(rollout_length=10), spaces.Discrete(2)),
    "ppo": (PPO, PPOConfig(rollout_length=10, share_torso=True), spaces.Discrete(2)),
    "ppo, two torsos": (PPO, PPOConfig(rollout_length=10, share_torso=False), spaces.Discrete(2)),
    "reinforce": (REINFORCE, REINFORCEConfig(steps_per_update=30), spaces.Discrete(2)),
    "ddpg": (DDPG, DDPGConfig(learning_starts=0, batch_size=4), spaces.Box(-1, 1, (1,), np.float32)),
}


class Counting(Encoder):
    """An encoder of a user's own, whose statistics are plain Python numbers."""

    def __init__(self):
        super().__init__()
        self.size = 3
        self.rows = []

    def forward(self, obs):
        return obs

    def update_statistics(self, obs):
        self.rows += obs.tolist()


@pytest.mark.parametrize("name", AGENTS)
def test_every_valid_observation_enters_statistics_once_whichever_the_agent(name):
    agent_class, config, action_space = AGENTS[name]
    torsos = []

    def make_torso():
        torso = build_torso(BOX, MLP, NoMemory, MLPConfig(hidden=()))
        torso.encoder = Counting()
        torsos.append(torso)
        return torso

    agent = agent_class(config, action_space, make_torso, seed=0, total_steps=1000, device=CPU, compile=False)
    wanted = []
    for t, transition in enumerate(itertools.islice(random_transitions(agent, num_envs=4), 10)):
        valid = np.array([True, True, True, t % 5 != 1])
        agent.learn(transition._replace(valid=valid))
        wanted += transition.obs[valid].tolist()
    for torso in torsos:
        assert sorted(torso.encoder.rows) == sorted(wanted)


def test_only_encoders_with_statistics_are_fed():
    nested = spaces.Dict({"picture": PICTURE, "rest": BOX})
    cases = [
        (BOX, MLP, MLPConfig(), False),
        (BOX, MLP, MLPConfig(normalize=True), True),
        (PICTURE, Capsule, None, False),  # it has buffers, but none of statistics
        (PICTURE, CNN, None, False),
        (nested, CNN, None, True),
        (spaces.Dict({"picture": PICTURE}), CNN, None, False),
    ]
    for space, encoder, config, expected in cases:
        torso = build_torso(space, encoder, NoMemory, config)
        assert torso.has_statistics is expected, (space, encoder)
        assert Normalizers([torso, torso], CPU).torsos == [torso] * expected


@pytest.mark.parametrize("memory", ["none", "lstm", "transformer"])
def test_a_joint_step_carries_on_every_memory(memory):
    torsos = [build_torso(BOX, MLP, *MEMORIES[memory][:1], None, MEMORIES[memory][1]) for _ in range(2)]
    head = torch.nn.Linear(torsos[0].size, 2)
    step = make_joint_step(torsos, head, CPU)
    state, alone = initial_state(torsos, 4), [torso.initial_state(4) for torso in torsos]
    generator = np.random.default_rng(0)
    for t in range(5):
        obs, first = generator.standard_normal((4, 3)).astype(np.float32), np.full(4, t in (0, 3))
        outputs, state = step(obs, state, first)
        with torch.no_grad():
            results = [
                torso(torch.from_numpy(obs)[None], own, torch.from_numpy(first)[None])
                for torso, own in zip(torsos, alone, strict=True)
            ]
        alone = [own for _, own in results]
        expected = head(results[0][0][0]).detach()
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
        np.testing.assert_allclose(state, torch.cat(alone, 1), atol=1e-5)


@pytest.mark.parametrize(("space", "encoder"), [(BOX, MLP), (PICTURE, CNN)])
def test_a_value_step_in_numpy_or_torch_gives_the_networks_values(space, encoder):
    torso = build_torso(space, encoder, NoMemory)
    network = QNetwork(torso, QHead(torso.size, 3, noisy=True, dueling=True, hidden=(8,)))
    generator = np.random.default_rng(0)
    obs = np.stack([space.sample() for _ in range(4)])
    noise = generator.standard_normal(network.head.noise_size).astype(np.float32)
    values, state = make_value_step(network, CPU)(obs, initial_state([torso], 4), np.ones(4, bool), noise)
    with torch.no_grad():
        expected = network.head.values(network(torch.from_numpy(obs), torch.from_numpy(noise)))
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert state.shape == (4, 0)
