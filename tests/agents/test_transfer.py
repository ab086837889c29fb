import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.bc import BC
from palaestra.agents.ddpg import DDPG
from palaestra.agents.dqn import DQN
from palaestra.agents.ppo import PPO
from palaestra.agents.reinforce import REINFORCE
from palaestra.agents.transfer import take_parts
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.torso import build_torso

from .memories import MEMORIES

FOUR = spaces.Box(-1, 1, (4,), np.float32)


def make(
    kind, seed, obs_space=FOUR, actions=None, memory="none", normalize=False, activation="tanh", **options
):
    memory_class, memory_config = MEMORIES[memory]
    encoder = MLPConfig(hidden=(8,), normalize=normalize, activation=activation)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(
            kind.Config(**options),
            spaces.Discrete(3) if actions is None else actions,
            lambda: build_torso(obs_space, MLP, memory_class, encoder, memory_config),
            seed=seed,
            total_steps=1000,
            device=torch.device("cpu"),
            compile=False,
        )


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_clones_networks_are_the_policy_of_ppo_and_what_its_value_begins_with():
    clone, ppo = make(BC, 0), make(PPO, 1)
    before = ppo.networks["value_head"].weight.clone()
    result = take_parts(ppo.parts(), clone.parts())
    assert result.taken == {
        "networks.torso.encoder": "networks.torso.encoder",
        "networks.value_torso.encoder": "networks.torso.encoder",
        "networks.head": "networks.head",
    }
    assert result.refused == {"networks.value_head": "there is none"}
    assert torch.equal(ppo.networks["value_head"].weight, before)
    obs, first = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32), np.zeros(50, bool)
    for agent in (clone, ppo):
        assert agent.optimizer.count == 0
    actions = [agent.act(obs, agent.initial_state(50), first, explore=False)[0] for agent in (clone, ppo)]
    assert (actions[0] == actions[1]).all()
    # What the optimiser steps is what the networks compute with.
    assert torch.equal(ppo.optimizer.vector[:32].view(8, 4), ppo.networks["torso"].encoder.layers[0].weight)


def test_a_policy_head_is_found_where_another_agent_has_it():
    clone, reinforce = make(BC, 0), make(REINFORCE, 1)
    result = take_parts(reinforce.parts(), clone.parts())
    assert result.taken["policy.head"] == "networks.head"
    assert same(reinforce.head, clone.head)
    assert "baseline.head" in result.refused


def test_of_a_policy_q_learning_takes_the_encoder_alone_and_its_target_too():
    ppo, dqn = make(PPO, 0), make(DQN, 1)
    result = take_parts(dqn.parts(), ppo.parts())
    assert set(result.taken) == {"network.torso.encoder", "target.torso.encoder"}
    assert same(dqn.network.torso, ppo.torso)
    assert same(dqn.network, dqn.target)
    assert set(result.refused) == {"network.head", "target.head"}


def test_an_agent_takes_all_of_another_one_of_its_kind():
    box = spaces.Box(-1, 1, (2,), np.float32)
    one, other = make(DDPG, 0, actions=box), make(DDPG, 1, actions=box)
    result = take_parts(other.parts(), one.parts())
    assert not result.refused
    for name in ("actor", "critic", "target_actor", "target_critic"):
        assert same(one.parts()[name], other.parts()[name]), name


def test_heads_begin_afresh_on_features_that_were_not_taken():
    clone, ppo = make(BC, 0), make(PPO, 1, obs_space=spaces.Box(-1, 1, (5,), np.float32))
    before = ppo.head.layer.weight.clone()
    result = take_parts(ppo.parts(), clone.parts())
    assert not result.taken
    assert result.refused["networks.torso.encoder"] == "layers.0.weight is [8, 5], there [8, 4]"
    assert "networks.torso, which was not taken whole" in result.refused["networks.head"]
    assert torch.equal(before, ppo.head.layer.weight)


@pytest.mark.parametrize(
    ("theirs", "ours", "refused", "reason"),
    [
        ({"memory": "gru"}, {"memory": "lstm"}, "networks.torso.memory", "it is LSTM, there GRU"),
        ({"activation": "relu"}, {}, "networks.torso.encoder", "it has Tanh where the other has ReLU"),
        (
            {"normalize": True},
            {},
            "networks.torso.encoder",
            "it has Identity where the other has Running",
        ),
        ({"actions": spaces.Discrete(4)}, {}, "networks.head", "layer.weight is [3, 8], there [4, 8]"),
        ({"memory": "gru"}, {}, "networks.head", "it stands on networks.torso"),
    ],
)
def test_it_says_why_something_does_not_fit(theirs, ours, refused, reason):
    result = take_parts(make(BC, 0, **ours).parts(), make(BC, 1, **theirs).parts())
    assert reason in result.refused[refused]


def test_memories_and_statistics_of_observations_come_along():
    one, other = (make(PPO, seed, memory="gru", normalize=True) for seed in (0, 1))
    obs = {"x": torch.randn(20, 4)}
    one.torso.update_statistics(obs["x"])
    result = take_parts(other.parts(), one.parts())
    assert "networks.torso.memory" in result.taken and not result.refused
    assert same(one.torso, other.torso)


def test_a_shared_torso_is_taken_once():
    one, other = (make(PPO, seed, share_torso=True) for seed in (0, 1))
    result = take_parts(other.parts(), one.parts())
    assert set(result.taken) == {"networks.torso.encoder", "networks.head", "networks.value_head"}
