import copy
import itertools
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.agent import Transition
from palaestra.agents.bc import BC, BCBatch, BCConfig
from palaestra.agents.storage.sequences import Sequence
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.torso import build_torso

from .memories import MEMORIES
from .streams import goes_on_exactly, random_transitions

BOX = spaces.Box(-1, 1, (3,), np.float32)


def make_agent(action_space=None, memory="none", seed=0, obs_space=BOX, hidden=(16,), **options) -> BC:
    kind, memory_config = MEMORIES[memory]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return BC(
            BCConfig(**{"rollout_length": 8, "batch_size": 8, "sequence_length": 4} | options),
            action_space or spaces.Discrete(2),
            lambda: build_torso(obs_space, MLP, kind, MLPConfig(hidden=hidden), memory_config),
            seed=seed,
            total_steps=10_000,
            device=torch.device("cpu"),
        )


def batch_of(agent, obs, action, valid=None):
    """One minibatch of single steps."""
    valid = np.ones(len(obs), bool) if valid is None else valid
    parts = (obs, np.zeros(len(obs), bool), action, valid)
    tensors = [torch.as_tensor(x)[None] for x in parts]
    return BCBatch(*tensors, state=torch.zeros(1, len(obs), agent.torso.state_size))


def with_head(agent, weight, bias):
    with torch.no_grad():
        agent.head.layer.weight.copy_(torch.tensor(weight))
        agent.head.layer.bias.copy_(torch.tensor(bias))


def test_the_loss_is_the_negative_log_likelihood_less_the_entropy_and_with_half_the_squared_parameters():
    # Features are the observation; logits are (obs0, 0), so that p(1) = 1 / (1 + e^obs0).
    agent = make_agent(hidden=(), l2_coefficient=0.1, obs_space=spaces.Box(-9, 9, (1,), np.float32))
    with_head(agent, [[1.0], [0.0]], [0.0, 0.0])
    log3 = math.log(3)
    batch = batch_of(
        agent, np.float32([[log3], [0.0], [5.0]]), np.array([0, 1, 1]), np.array([1, 1, 0], bool)
    )
    loss, metrics = agent.loss(batch, torch.tensor(0.5))
    # p = 3/4 and 1/2; the third row does not count.
    expected = (math.log(4 / 3) + math.log(2)) / 2
    entropy = (0.75 * math.log(4 / 3) + 0.25 * math.log(4) + math.log(2)) / 2
    assert metrics["loss/policy"].item() == pytest.approx(expected, rel=1e-6)
    assert metrics["policy/entropy"].item() == pytest.approx(entropy, rel=1e-6)
    assert loss.item() == pytest.approx(expected - 0.5 * entropy + 0.1 / 2 * 1.0, rel=1e-6)


def test_the_likelihood_of_a_number_is_that_of_a_gaussian_in_the_environments_units():
    space = spaces.Box(-2, 2, (1,), np.float32)
    agent = make_agent(space, hidden=(), log_std=math.log(0.5), obs_space=spaces.Box(-9, 9, (1,), np.float32))
    with_head(agent, [[1.0]], [0.0])
    # Mean 0.5 of [-1, 1] is action 1; its deviation 0.5 is one of 1 in the environment's units.
    loss, _ = agent.loss(batch_of(agent, np.float32([[0.5]]), np.float32([[2.0]])), torch.tensor(0.0))
    assert loss.item() == pytest.approx(0.5 + 0.5 * math.log(2 * math.pi), rel=1e-6)


def teacher_steps(rule, memory_size=0, num_envs=4, seed=0, length=6):
    """Random observations `[B, 3]` and what a teacher does there; episodes of `length` steps."""
    generator = np.random.default_rng(seed)
    past = np.zeros((num_envs, 3), np.float32)
    for t in itertools.count():
        first = np.full(num_envs, t % length == 0)
        obs = generator.uniform(-1, 1, (num_envs, 3)).astype(np.float32)
        past = np.where(first[:, None], obs, past)
        ends = np.full(num_envs, t % length == length - 1)
        yield Transition(
            obs=obs,
            action=rule(obs, past),
            reward=np.zeros(num_envs),
            terminated=ends,
            truncated=np.zeros(num_envs, bool),
            next_obs=obs,
            first=first,
            state=np.zeros((num_envs, memory_size), np.float32),
        )


@pytest.mark.parametrize(
    ("action_space", "rule"),
    [
        (spaces.Discrete(2, start=3), lambda obs, past: 3 + (obs[:, 0] > 0)),
        (spaces.MultiBinary(2), lambda obs, past: (obs[:, :2] > 0).astype(np.int8)),
        (
            spaces.Dict(move=spaces.Box(-1, 1, (2,), np.float32), kind=spaces.Discrete(2)),
            lambda obs, past: {"move": obs[:, :2] * 0.9, "kind": (obs[:, 2] > 0).astype(np.int64)},
        ),
    ],
    ids=["Discrete", "MultiBinary", "Dict"],
)
def test_it_does_what_the_teacher_does(action_space, rule):
    agent = make_agent(action_space, learning_rate=0.02, rollout_length=32, batch_size=32)
    for step in itertools.islice(teacher_steps(rule), 32 * 60):
        metrics = agent.learn(step)
    assert "loss/policy" in metrics
    obs = np.random.default_rng(9).uniform(-1, 1, (200, 3)).astype(np.float32)
    obs = np.sign(obs) * np.maximum(np.abs(obs), 0.1)  # not at the boundary
    done, _ = agent.act(obs, agent.initial_state(200), np.zeros(200, bool), explore=False)
    right = agent.head.stored(rule(obs, obs)), agent.head.stored(done)
    assert np.abs(right[0] - right[1]).mean() < 0.05


def test_what_only_the_first_step_tells_is_learned_with_a_memory_and_not_without():
    losses = {}
    for memory in ("none", "gru"):
        agent = make_agent(memory=memory, learning_rate=0.02, rollout_length=24, batch_size=24)
        stream = teacher_steps(lambda obs, past: (past[:, 0] > 0).astype(np.int64), agent.torso.state_size)
        state, found = agent.initial_state(4), []
        for step in itertools.islice(stream, 24 * 60):
            _, after = agent.act(step.obs, state, step.first, explore=False)
            found.append(agent.learn(step._replace(state=state)).get("loss/policy"))
            state = after
        losses[memory] = float([x for x in found if x is not None][-1])
    assert losses["gru"] < 0.3 < losses["none"]


@pytest.mark.parametrize("memory", MEMORIES)
def test_held_out_episodes_are_judged_as_one_piece(memory):
    """Cut into pieces of the rollout's length, with the memory carried on: as if seen at once."""
    generator, shape = np.random.default_rng(0), (13, 2)
    agent, whole = (make_agent(memory=memory, rollout_length=n) for n in (5, 20))
    lengths = np.array([13, 7])
    valid = np.arange(13)[:, None] < lengths
    episodes = Sequence(
        obs=generator.standard_normal((*shape, 3)).astype(np.float32),
        first=np.broadcast_to(np.arange(13)[:, None] == 0, shape).copy(),
        action=generator.integers(0, 2, shape),
        reward=np.zeros(shape, np.float32),
        terminated=np.zeros(shape, bool),
        truncated=np.zeros(shape, bool),
        valid=valid,
        state=np.zeros((*shape, 0), np.float32),
    )
    for each in (agent, whole):
        each.hold_out(episodes)
    value = agent.judge(agent.held_out)
    torch.testing.assert_close(value, whole.judge(whole.held_out))
    # What is padding changes nothing.
    other = copy.deepcopy(episodes)
    other.obs[7:, 1] = 5.0
    other.action[7:, 1] = 1
    agent.hold_out(other)
    torch.testing.assert_close(agent.judge(agent.held_out), value)


@pytest.mark.parametrize("memory", ["none", "gru", "transformer"])
def test_its_parts_are_all_of_it(memory):
    agent, fresh = make_agent(memory=memory), make_agent(memory=memory, seed=1)
    goes_on_exactly(agent, fresh, random_transitions(agent, 2), before=21, after=20)
