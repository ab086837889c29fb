"""Tuple and Dict actions: products of distributions, joint values, masks, and continuing exactly."""

import itertools

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
from palaestra.networks.memories.none import NoMemory, NoMemoryConfig
from palaestra.networks.torso import build_torso
from palaestra.networks.tree import read_row

from .memories import MEMORIES
from .streams import goes_on_exactly, random_transitions

CHOICES = spaces.Dict(
    kind=spaces.Discrete(3, start=5),
    deep=spaces.Tuple([spaces.MultiDiscrete([[2, 3]], start=[[0, -1]]), spaces.Box(-1, 0, (), np.int64)]),
)
ALL = spaces.Tuple(
    [CHOICES, spaces.Dict(where=spaces.Box(-2, 2, (2, 1), np.float32), bits=spaces.MultiBinary([1, 2]))]
)
SAMPLERS = {
    "ppo": (PPO, PPOConfig(rollout_length=16, batch_size=64, learning_rate=1e-2, log_std=-1.0)),
    "squash": (
        PPO,
        PPOConfig(rollout_length=16, batch_size=64, learning_rate=1e-2, log_std=-1.0, squash=True),
    ),
    "reinforce": (REINFORCE, REINFORCEConfig(steps_per_update=128, learning_rate=3e-2, log_std=-1.0)),
}
VALUERS = {
    "dqn": (DQN, DQNConfig(learning_starts=100, epsilon=0.3, train_every=16, gradient_steps=2, gamma=0.0)),
    "pqn": (PQN, PQNConfig(rollout_length=16, epsilon=0.3, learning_rate=3e-3, gamma=0.0)),
}


def make_agent(agent_class, config, space, *, memory="none", obs_space=None, seed=0):
    torch.manual_seed(seed)
    obs_space = obs_space or spaces.Box(-10, 10, (3,), np.float32)
    memory_class, memory_config = MEMORIES[memory] if memory != "none" else (NoMemory, NoMemoryConfig())
    return agent_class(
        config,
        space,
        lambda: build_torso(obs_space, MLP, memory_class, MLPConfig(hidden=(32,)), memory_config),
        seed=seed,
        total_steps=100_000,
        device=torch.device("cpu"),
    )


def paid(action, context, space):
    """Reward `[B]` at most 1: every part has a right answer in every context, 0 or 1."""
    choices, rest = action if space is ALL else (action, None)
    right = [
        choices["kind"] == 5 + 2 * context,
        choices["deep"][0][:, 0, 1] == 1 - 2 * context,
        choices["deep"][1] == -context,
    ]
    if rest is not None:
        right.append((rest["bits"][:, 0] == np.stack([context, 1 - context], -1)).all(-1))
        right.append(1 - np.abs(rest["where"][:, :, 0] - (2 * context - 1)[:, None]).mean(-1))
    return np.mean(np.array(right, np.float32), 0)


def observed(context):
    return np.stack([context, 1 - context, np.ones_like(context)], -1).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "space"),
    [(name, ALL) for name in SAMPLERS] + [(name, CHOICES) for name in (*SAMPLERS, *VALUERS)],
)
def test_a_contextual_bandit_is_learned(name, space):
    agent = make_agent(*(SAMPLERS | VALUERS)[name], space)
    generator = np.random.default_rng(0)
    num_envs, ones = 16, np.ones(16, bool)
    context, state = generator.integers(0, 2, num_envs), agent.initial_state(num_envs)
    for _ in range(600):
        action, _ = agent.act(observed(context), state, ones)
        reward, following = paid(action, context, space), generator.integers(0, 2, num_envs)
        agent.learn(
            Transition(observed(context), action, reward, ones, ~ones, observed(following), ones, state)
        )
        context = following
    action, _ = agent.act(observed(context), state, ones, explore=False)
    assert all(space.contains(fitting(space, read_row(action, i))) for i in range(num_envs))
    assert paid(action, context, space).mean() > 0.9


def fitting(space, value):
    """A value with the types of its space and inside its bounds, as environments get it."""
    match space:
        case spaces.Dict():
            return {key: fitting(part, value[key]) for key, part in space.items()}
        case spaces.Tuple():
            return tuple(fitting(part, inner) for part, inner in zip(space, value, strict=True))
        case spaces.Box():
            return np.asarray(np.clip(value, space.low, space.high), space.dtype)
    return np.asarray(value, space.dtype) if space.shape else space.dtype.type(value)


@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize("name", ["ppo", "reinforce", "dqn", "pqn"])
def test_it_goes_on_exactly(name, memory):
    agent_class, config = (SAMPLERS | VALUERS)[name]
    if name == "pqn" and memory != "none":
        pytest.skip("pqn has no memory")
    space = CHOICES if name in VALUERS else ALL

    def make(seed):
        return make_agent(agent_class, config, space, memory=memory, seed=seed)

    agent = make(0)
    goes_on_exactly(agent, make(1), random_transitions(agent, 8), before=21, after=40)


def test_the_order_of_keys_does_not_matter():
    """Equal Dict spaces list their keys as they were written."""
    parts = {"b": spaces.Discrete(2), "a": spaces.Box(-1, 1, (2,), np.float32), "c": spaces.MultiBinary(2)}
    one, other = spaces.Dict(**parts), spaces.Dict(**dict(reversed(parts.items())))
    assert one == other and list(one) != list(other)
    agents = [make_agent(*SAMPLERS["ppo"], space) for space in (one, other)]
    for transition in itertools.islice(random_transitions(agents[0], 4), 40):
        action, _ = agents[1].act(transition.obs, transition.state, transition.first)
        for key in parts:
            np.testing.assert_array_equal(action[key], transition.action[key])
        turned = {key: transition.action[key] for key in reversed(list(transition.action))}
        agents[0].learn(transition)
        agents[1].learn(transition._replace(action=turned))


MASKED = {
    "dict": (
        spaces.Dict(
            kind=spaces.MultiBinary(3), deep=spaces.Tuple([spaces.MultiBinary(5), spaces.MultiBinary(2)])
        ),
        {"kind": [0, 1, 0], "deep": ([1, 0, 0, 0, 1], [0, 1])},
    ),
    "gymnasium's": (
        spaces.Dict(
            deep=spaces.Tuple(
                [
                    spaces.Tuple([spaces.Tuple([spaces.MultiBinary(2), spaces.MultiBinary(3)])]),
                    spaces.Box(0, 1, (2,), np.int8),
                ]
            ),
            kind=spaces.Box(0, 1, (3,), np.int8),
        ),
        {"kind": [0, 1, 0], "deep": ((([1, 0], [0, 0, 1]),), [0, 1])},
    ),
    "some": (spaces.Dict(kind=spaces.MultiBinary(3)), {"kind": [0, 1, 0]}),
}


@pytest.mark.parametrize("layout", MASKED)
@pytest.mark.parametrize("name", ["ppo", "reinforce", "dqn", "pqn"])
def test_forbidden_parts_are_never_taken(name, layout):
    mask_space, mask = MASKED[layout]
    obs_space = spaces.Dict(x=spaces.Box(-1, 1, (2,), np.float32), action_mask=mask_space)
    space = CHOICES
    if name not in VALUERS:
        space = spaces.Dict(**CHOICES.spaces, where=spaces.Box(-1, 1, (2,), np.float32))
    agent = make_agent(*(SAMPLERS | VALUERS)[name], space, obs_space=obs_space)

    def batch(tree):
        if isinstance(tree, dict):
            return {key: batch(part) for key, part in tree.items()}
        return tuple(map(batch, tree)) if isinstance(tree, tuple) else np.array([tree] * 16, np.int8)

    obs = {"x": np.zeros((16, 2), np.float32), "action_mask": batch(mask)}
    ones, state, learned = np.ones(16, bool), agent.initial_state(16), 0
    for _ in range(40):
        action, _ = agent.act(obs, state, ones)
        assert (action["kind"] == 6).all()
        if layout != "some":
            assert (action["deep"][0] == [[0, 1]]).all() and (action["deep"][1] == 0).all()
        metrics = agent.learn(Transition(obs, action, np.ones(16), ones, ~ones, obs, ones, state))
        assert all(np.isfinite(float(value)) for value in metrics.values())
        learned += bool(metrics)
    assert learned


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (spaces.MultiBinary(5), r"^action_mask: Dict actions need a Dict of masks, got MultiBinary\(5\)$"),
        (spaces.Dict(knid=spaces.MultiBinary(3)), r"^action_mask: masks for \['knid'\], but actions have"),
        (spaces.Dict(kind=spaces.MultiBinary(4)), r"^action_mask\['kind'\]: shape \(4,\) does not fit"),
        (spaces.Dict(deep=spaces.Tuple([spaces.MultiBinary(5)])), r"^action_mask\['deep'\]: masks for \[0\]"),
    ],
)
def test_masks_of_another_structure_are_refused(mask, message):
    obs_space = spaces.Dict(x=spaces.Box(-1, 1, (2,), np.float32), action_mask=mask)
    for name in ("ppo", "dqn"):
        with pytest.raises(ValueError, match=message):
            make_agent(*(SAMPLERS | VALUERS)[name], CHOICES, obs_space=obs_space)
