"""Goal environments of ours and of others: the rule by which they judge goals."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.goals import goal_rule
from palaestra.envs.make import EnvSpec, make_envs

GOAL = spaces.Box(-1, 1, (2,), np.float32)


class Goals(gymnasium.Env):
    """As packages have them; what `compute_reward` and `compute_terminated` take is said by their names."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Dict(observation=GOAL, achieved_goal=GOAL, desired_goal=GOAL)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


class Batched(Goals):
    """In float64, 1 or 0, as gymnasium-robotics' mazes; one False for a whole batch."""

    calls = 0

    def compute_reward(self, achieved, desired, info):
        type(self).calls += 1
        return (np.linalg.norm(achieved - desired, axis=-1) < 0.1).astype(np.float64)

    def compute_terminated(self, achieved, desired, info):
        return False


class Single(Goals):
    """Of one goal only; of a batch it makes one wrong number."""

    def compute_reward(self, achieved, desired, info):
        return float(np.linalg.norm(achieved - desired) < 0.1)

    def compute_terminated(self, achieved, desired, info):
        return bool(np.linalg.norm(achieved - desired) < 0.1)


class NeedsInfo(Goals):
    def compute_reward(self, achieved, desired, info):
        return info["contact"]


class NoReward(Goals):
    pass


@pytest.fixture(autouse=True)
def registered():
    before = dict(gymnasium.registry)
    for made in (Batched, Single, NeedsInfo, NoReward):
        gymnasium.register(f"{made.__name__}-v0", made)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def rule_of(env_id, space=Goals.observation_space, **options):
    return goal_rule(EnvSpec(env_id, 1, **options), space)


@pytest.mark.parametrize("env_id", ["Batched-v0", "Single-v0"])
def test_batches_are_judged_as_single_goals_are(env_id):
    rule = rule_of(env_id)
    achieved = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    desired = np.where(np.arange(50)[:, None] % 3, achieved[::-1], achieved)
    calls = Batched.calls
    reward, terminated = rule(achieved, desired)
    expected = np.linalg.norm(achieved - desired, axis=-1) < 0.1
    assert reward.dtype == np.float32 and terminated.dtype == bool
    np.testing.assert_array_equal(reward, expected)
    np.testing.assert_array_equal(terminated, expected if env_id == "Single-v0" else np.zeros(50, bool))
    assert Batched.calls - calls == (env_id == "Batched-v0")


@pytest.mark.parametrize(
    ("env_id", "space", "options", "message"),
    [
        (
            "CartPole-v1",
            GOAL,
            {},
            r"^hindsight needs a goal environment; 'CartPole-v1' has no observation and no a",
        ),
        ("NoReward-v0", Goals.observation_space, {}, r"'NoReward-v0' has no compute_reward$"),
        (
            "NeedsInfo-v0",
            Goals.observation_space,
            {},
            r"of 'NeedsInfo-v0' needs more than goals \(KeyError: 'con",
        ),
        (
            "Single-v0",
            Goals.observation_space,
            {"frame_stack": 2},
            "cannot relabel frame_stack or show_previous",
        ),
    ],
)
def test_what_has_no_goals_is_refused(env_id, space, options, message):
    with pytest.raises(ValueError, match=message):
        rule_of(env_id, space, **options)


@pytest.mark.parametrize("env_id", ["palaestra/BitFlip-v0", "palaestra/PointReach-v0"])
def test_ours_are_judged_as_they_are_played(env_id):
    spec = EnvSpec(env_id, 4, seed=1)
    envs = make_envs(spec)
    rule = goal_rule(spec, envs.observation_space)
    obs, generator, ends = envs.reset(), np.random.default_rng(0), 0
    for _ in range(300):
        # Towards the goal, as a rule.
        gap = obs["desired_goal"] - obs["achieved_goal"]
        towards = np.abs(gap).argmax(-1) if env_id == "palaestra/BitFlip-v0" else gap * 20
        step = envs.step(towards if generator.random() < 0.8 else np.stack([envs.action_space.sample()] * 4))
        reward, terminated = rule(step.next_obs["achieved_goal"], step.next_obs["desired_goal"])
        np.testing.assert_array_equal(reward, step.reward)
        np.testing.assert_array_equal(terminated, step.terminated)
        obs, ends = step.obs, ends + int(step.terminated.sum())
    assert ends > 10
    envs.close()


def test_bits():
    env = gymnasium.make("palaestra/BitFlip-v0", bits=3)
    obs, _ = env.reset(seed=0)
    assert obs["desired_goal"].shape == (3,) and not (obs["achieved_goal"] == obs["desired_goal"]).all()
    before = obs["achieved_goal"].copy()
    obs, *_ = env.step(1)
    assert (obs["achieved_goal"] != before).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="bits must be at least 1"):
        gymnasium.make("palaestra/BitFlip-v0", bits=0)
