"""Hindsight: which goals a relabelled step may get, what it is then worth, and that it goes on exactly."""

import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.agent import Transition
from palaestra.agents.ddpg import DDPG, DDPGConfig
from palaestra.agents.dqn import DQN, DQNConfig
from palaestra.agents.storage.hindsight import goal_sampler
from palaestra.agents.storage.replay import Replay
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.torso import build_torso

from ..memories import MEMORIES
from ..streams import goes_on_exactly

GAMMA = 0.9


def rule(achieved, desired):
    """Goals are reached where they are equal."""
    reached = (achieved == desired).all(-1)
    return np.where(reached, 0.0, -1.0), reached


def stream(num_envs, lengths, valid=None):
    """Steps that achieve their own numbers 100,000 * column + step; episodes last as long as a column's next length."""
    step, left = np.zeros(num_envs), np.array([next(length) for length in lengths])
    first = np.ones(num_envs, bool)

    def obs(numbers):
        goal = np.stack([numbers], -1).astype(np.float32)
        return {"observation": goal, "achieved_goal": goal, "desired_goal": np.full_like(goal, -1)}

    base = 100_000.0 * np.arange(num_envs)
    while True:
        before, following = obs(base + step), obs(base + step + 1)
        left -= 1
        done = left == 0
        zeros = np.zeros(num_envs, bool)
        yield Transition(
            before, np.zeros(num_envs, np.int64), np.full(num_envs, -1.0), zeros, done, following, first,
            np.zeros((num_envs, 0), np.float32),
        )  # fmt: skip
        # A new episode begins far from the old one's end.
        step = step + 1 + 50 * done
        left = np.where(
            done, [next(length) if over else 0 for length, over in zip(lengths, done, strict=True)], left
        )
        first = done


def test_goals_come_from_later_in_the_same_episode():
    """Also where the ring has gone round, episodes are longer than it, and some are under way."""
    lengths = [itertools.cycle(cycle) for cycle in ([3, 7, 1], [40], [5])]
    replay = Replay(60, gamma=GAMMA)
    sample = goal_sampler(replay, 0.8, rule, has_memory=False)
    generator = np.random.default_rng(0)
    episodes = {}  # which episode, by column and step
    counts, relabelled, reached = np.zeros(3, int), 0, 0
    for number, transition in enumerate(itertools.islice(stream(3, lengths), 130)):
        replay.add(transition)
        counts += transition.first
        for column in range(3):
            episodes[float(transition.next_obs["achieved_goal"][column, 0])] = (column, counts[column])
        if number < 5 or number in range(60, 120):
            continue  # longer than the ring
        batch = sample(64, generator)
        goal, achieved = batch.obs["desired_goal"][:, 0], batch.next_obs["achieved_goal"][:, 0]
        np.testing.assert_array_equal(batch.next_obs["desired_goal"][:, 0], goal)
        newest = transition.next_obs["achieved_goal"][:, 0]
        for row in np.flatnonzero(goal != -1):
            assert goal[row] >= achieved[row] and goal[row] <= newest[int(goal[row] // 100_000)]
            assert episodes[float(goal[row])] == episodes[float(achieved[row])]
        there = goal == achieved
        np.testing.assert_array_equal(batch.reward, np.where(there, 0, -1).astype(np.float32))
        np.testing.assert_array_equal(batch.discount, np.where(there, 0, np.float32(GAMMA)))
        relabelled, reached = relabelled + (goal != -1).sum(), reached + there.sum()
    assert 0.75 < relabelled / (64 * 65) < 0.85 and reached > 500
    # The replay itself is as it was.
    assert (replay.obs["desired_goal"] == -1).all()


def test_every_later_step_is_as_likely():
    replay = Replay(100, gamma=GAMMA)
    sample = goal_sampler(replay, 0.999, rule, has_memory=False)
    for transition in itertools.islice(stream(1, [itertools.cycle([4])]), 4):
        replay.add(transition)
    batch = sample(40_000, np.random.default_rng(0))
    goals = batch.obs["desired_goal"][(batch.obs["achieved_goal"] == 1) & (batch.obs["desired_goal"] != -1)]
    values, counts = np.unique(goals, return_counts=True)
    assert values.tolist() == [2, 3, 4] and np.abs(counts / len(goals) - 1 / 3).max() < 0.02


def test_an_episode_that_was_given_up_ends_there():
    replay = Replay(100, gamma=GAMMA)
    sample = goal_sampler(replay, 0.999, rule, has_memory=False)
    steps = list(itertools.islice(stream(1, [itertools.cycle([90])]), 20))
    for number, transition in enumerate(steps):
        replay.add(transition._replace(first=np.array([number in (0, 8)])))
        if number == 7:
            sample(10, np.random.default_rng(0))
    batch = sample(1000, np.random.default_rng(0))
    early = batch.obs["achieved_goal"] < 8
    assert batch.obs["desired_goal"][early].max() <= 8 < batch.obs["desired_goal"][~early].max()


def make(agent_class, config, seed=0, memory="none", **options):
    torch.manual_seed(seed)
    box = spaces.Box(-1, 1, (1,), np.float32)
    obs_space = spaces.Dict(observation=box, achieved_goal=box, desired_goal=box)
    actions = spaces.Discrete(2) if agent_class is DQN else box
    memory_class, memory_config = MEMORIES[memory]
    return agent_class(
        config,
        actions,
        lambda: build_torso(obs_space, MLP, memory_class, MLPConfig(hidden=(8,)), memory_config),
        seed=seed,
        total_steps=1000,
        device=torch.device("cpu"),
        **options,
    )


HINDSIGHT = {"learning_starts": 20, "batch_size": 16, "hindsight": 0.8, "train_every": 4}


@pytest.mark.parametrize(
    ("agent_class", "config"),
    [
        (DQN, DQNConfig(**HINDSIGHT, replay_capacity=100)),
        (DQN, DQNConfig(**HINDSIGHT, replay_capacity=100, prioritized=True)),
        (DDPG, DDPGConfig(**HINDSIGHT, replay_capacity=100)),
    ],
    ids=["dqn", "prioritized", "ddpg"],
)
def test_it_goes_on_exactly(agent_class, config):
    agent, fresh = (make(agent_class, config, seed, goal_rule=rule) for seed in (0, 1))

    def acted():
        for transition in stream(4, [itertools.cycle(cycle) for cycle in ([3], [7, 2], [100], [1])]):
            action, _ = agent.act(transition.obs, transition.state, transition.first)
            yield transition._replace(action=action)

    goes_on_exactly(agent, fresh, acted(), before=50, after=40)


@pytest.mark.parametrize(
    ("options", "memory", "message"),
    [
        ({"n_step": 3}, "none", "^hindsight relabels single steps: n_step must be 1, got 3$"),
        ({}, "lstm", "^hindsight relabels single steps and cannot use a memory: choose memory 'none'$"),
    ],
)
def test_what_it_cannot_do_is_refused(options, memory, message):
    for agent_class, config in ((DQN, DQNConfig), (DDPG, DDPGConfig)):
        with pytest.raises(ValueError, match=message):
            make(agent_class, config(**HINDSIGHT, **options), memory=memory, goal_rule=rule)
