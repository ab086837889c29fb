import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.agent import Transition
from palaestra.agents.pqn import PQN, PQNBatch, PQNConfig
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.torso import build_torso

from .streams import goes_on_exactly, random_transitions

BOX = spaces.Box(-1, 1, (3,), np.float32)
PLAIN = MLPConfig(hidden=())


def make_agent(action_space, encoder=PLAIN, seed=0, total_steps=10_000, **options) -> PQN:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PQN(
            PQNConfig(**{"hidden": (16,)} | options),
            action_space,
            lambda: build_torso(BOX, MLP, NoMemory, encoder),
            seed=seed,
            total_steps=total_steps,
            device=torch.device("cpu"),
        )


def test_targets_are_lambda_returns():
    """Against the recursion of the paper, step by step: an end in each way, and the end of the rollout."""
    agent = make_agent(
        spaces.Discrete(3), rollout_length=8, gamma=0.9, q_lambda=0.6, epochs=1, batch_size=100
    )
    batches = []
    agent.optimizer.step = lambda loss, batch, rate: batches.append(batch) or {"loss/q": torch.tensor(0.0)}
    order = []
    agent.shuffle_generator = type("Unshuffled", (), {"permutation": lambda self, n: np.arange(n)})()
    seen = list(itertools.islice(random_transitions(agent, 2, episode=3), 8))
    for transition in seen:
        order.append(agent.learn(transition))
    assert [bool(metrics) for metrics in order] == [False] * 7 + [True]

    def best_value(obs):
        with torch.no_grad():
            return agent.network(torch.from_numpy(obs), torch.zeros(0)).squeeze(-1).max(-1).values.numpy()

    expected = [None] * 8
    following = best_value(seen[-1].next_obs)
    for t in reversed(range(8)):
        step, next_value = seen[t], best_value(seen[t].next_obs)
        following = np.where(step.done, next_value, following)
        mixture = (1 - 0.6) * next_value + 0.6 * following
        following = step.reward + 0.9 * ~step.terminated * mixture
        expected[t] = following
    ((obs, action, returns, valid),) = batches[0]
    np.testing.assert_allclose(returns.reshape(8, 2), expected, atol=1e-5)
    np.testing.assert_array_equal(obs.reshape(8, 2, 3), [step.obs for step in seen])
    np.testing.assert_array_equal(action.reshape(8, 2), [step.action for step in seen])
    assert valid.all()


def test_the_loss_by_hand():
    agent = make_agent(spaces.Discrete(2), hidden=())
    with torch.no_grad():
        for parameter in agent.network.parameters():
            parameter.zero_()
        agent.network.head.action_stream.layers[0].bias.copy_(torch.tensor([1.0, 3.0]))
    action, returns = torch.tensor([0, 1, 1]), torch.tensor([2.0, 5.0, 100.0])
    loss, metrics = agent.loss(
        PQNBatch(torch.zeros(3, 3), action, returns, torch.tensor([True, True, False]))
    )
    assert loss.item() == pytest.approx((1 + 4) / 2 / 2)
    assert metrics["value/mean"].item() == pytest.approx(2.0)


def test_every_step_is_learned_once_an_epoch():
    agent = make_agent(spaces.Discrete(2), rollout_length=7, batch_size=4, epochs=3)
    seen = []
    agent.optimizer.step = lambda loss, batch, rate: (
        seen.append(batch[0].returns) or {"loss/q": torch.tensor(0.0)}
    )
    for transition in itertools.islice(random_transitions(agent, num_envs=2), 7):
        agent.learn(transition)
    assert [len(batch) for batch in seen] == [4, 4, 4, 2] * 3
    epochs = torch.cat(seen).reshape(3, 14)
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, epochs[0].sort().values)
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.parametrize("action_space", [spaces.Discrete(3, start=2), spaces.MultiDiscrete([2, 3])], ids=str)
def test_learning_goes_on_exactly_from_its_parts(action_space):
    options = {"rollout_length": 8, "batch_size": 8, "encoder": MLPConfig(hidden=(), normalize=True)}
    agent, fresh = make_agent(action_space, **options), make_agent(action_space, seed=99, **options)
    goes_on_exactly(agent, fresh, random_transitions(agent, num_envs=3), 20, 20)
    assert int(agent.optimizer.count) == 5 * 4 * 3


def test_actions_without_exploration_draw_nothing():
    agent = make_agent(spaces.Discrete(4))
    obs, state, first = np.ones((2, 3), np.float32), agent.initial_state(2), np.ones(2, bool)
    before = agent.act_generator.bit_generator.state
    actions = {tuple(agent.act(obs, state, first, explore=False)[0]) for _ in range(10)}
    assert len(actions) == 1 and agent.act_generator.bit_generator.state == before
    assert len({tuple(agent.act(obs, state, first)[0]) for _ in range(50)}) > 4  # epsilon is 1 at first


def test_it_solves_a_probe():
    """Two steps; the second earns 1 for the action that the observation asks for, otherwise -1."""
    agent = make_agent(
        spaces.Discrete(2),
        hidden=(32,),
        gamma=0.5,
        learning_rate="linear(1e-2, 0)",
        rollout_length=10,
        epsilon="linear(1, 0, 0.5)",
        total_steps=9600,
    )
    generator = np.random.default_rng(0)
    state = agent.initial_state(16)
    for _ in range(300):
        sign = generator.choice([-1.0, 1.0], 16)
        observations = [
            np.stack([sign, np.full(16, t), np.ones(16)], -1).astype(np.float32) for t in range(3)
        ]
        for t in range(2):
            first, ends = np.full(16, t == 0), np.full(16, t == 1)
            action, _ = agent.act(observations[t], state, first)
            reward = np.where(action == (sign > 0), 1.0, -1.0) * t
            agent.learn(
                Transition(
                    observations[t], action, reward, ends, ~ends & False, observations[t + 1], first, state
                )
            )
    obs = np.array([[1, 1, 1], [-1, 1, 1], [1, 0, 1], [-1, 0, 1]], np.float32)
    values, _ = agent.values(obs, agent.initial_state(4), np.zeros(4, bool), np.zeros(0, np.float32))
    np.testing.assert_allclose(values[0], [-1, 1], atol=0.3)
    np.testing.assert_allclose(values[1], [1, -1], atol=0.3)
    np.testing.assert_allclose(values[2:], np.full((2, 2), 0.5), atol=0.3)


def test_bad_schedules_and_actions_are_refused():
    with pytest.raises(ValueError, match="cannot read schedule"):
        PQNConfig(epsilon="linear(1")
    with pytest.raises(TypeError, match="no action values for Box"):
        make_agent(spaces.Box(-1, 1, (2,)))


def test_planned_updates():
    config = PQNConfig(rollout_length=32, batch_size=64, epochs=2)
    assert config.planned_updates(total_steps=2560, num_envs=8) == 10 * 2 * 4
