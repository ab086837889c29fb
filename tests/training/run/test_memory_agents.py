"""Agents with memories, and what is shown to them beside observations: action masks, the last action and reward."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.make import make_envs
from palaestra.training.run.build import build_agent, env_spec, evaluation_spec
from palaestra.training.run.collect import Collector
from palaestra.training.run.evaluate import evaluate
from palaestra.training.settings.config import run_config
from palaestra.training.settings.layers import merge

REPLAY = {"learning_starts": 40, "batch_size": 16, "train_every": 8, "sequence_length": 8, "burn_in": 2}
AGENTS = {
    "ppo": {"rollout_length": 16, "batch_size": 16, "epochs": 1, "sequence_length": 8},
    "reinforce": {"steps_per_update": 50},
    "dqn": REPLAY,
    "ddpg": REPLAY,
}
MEMORIES = {
    "none": {},
    "lstm": {"hidden": 8},
    "gru": {"hidden": 8},
    "transformer": {"size": 8, "heads": 2, "window": 4, "hidden": 8},
}


class Picky(gymnasium.Env):
    """Allows other actions in every step, and breaks where it is not obeyed."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(4)

    def _info(self):
        self.mask = self.np_random.integers(0, 2, 4).astype(np.int8)
        self.mask[self.np_random.integers(4)] = 1
        return {"action_mask": self.mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), self._info()

    def step(self, action):
        assert self.mask[action], "a forbidden action"
        self.time += 1
        obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return obs, float(action), self.time == 7, False, self._info()


class Bandit(gymnasium.Env):
    """One of two arms pays, another one in every episode; nothing is shown."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.arm = 0, self.np_random.integers(2)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(1, np.float32), float(action == self.arm), self.time == 10, False, {}


@pytest.fixture(autouse=True)
def environments():
    before = dict(gymnasium.registry)
    gymnasium.register("Picky-v0", Picky)
    gymnasium.register("Bandit-v0", Bandit)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def trained(agent, memory, env, steps, /, **changes):
    """Config and agent after `steps` steps."""
    values = {
        "agent": {"name": agent, **AGENTS[agent]},
        "memory": {"name": memory, **MEMORIES[memory]},
        "encoder": {"name": "mlp", "hidden": [16]},
        **{"env": env, "num_envs": 2, "steps": steps, "device": "cpu", "compile": "off"},
    }
    config = run_config(merge(values, changes))
    envs = make_envs(env_spec(config))
    built = build_agent(config, envs.observation_space, envs.action_space)
    collector, metrics = Collector(built, envs), {}
    for _ in range(steps // config.num_envs):
        metrics |= built.learn(collector.step()[0])
    assert metrics, "nothing was learned"
    return config, built


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("agent", ["ppo", "reinforce", "dqn"])
def test_no_agent_takes_what_is_forbidden_whatever_it_remembers_with(agent, memory):
    wrappers = {"env_options": {"wrappers": ["palaestra.envs.wrappers.action_mask:ShowActionMask"]}}
    config, built = trained(agent, memory, "Picky-v0", 200, **wrappers)
    evaluate(built, evaluation_spec(config), 4)


@pytest.mark.parametrize(("agent", "env"), [(name, "Bandit-v0") for name in ("reinforce", "dqn")])
@pytest.mark.parametrize("memory", ["gru", "transformer"])
def test_discrete_actions_and_rewards_are_shown_to_agents_with_memories(agent, env, memory):
    config, built = trained(agent, memory, env, 200, show_previous=True)
    assert 0 <= evaluate(built, evaluation_spec(config), 4).summary()["return_mean"] <= 10


def test_continuous_actions_and_rewards_are_shown_too():
    config, built = trained("ddpg", "lstm", "palaestra/PendulumNoVel-v0", 200, show_previous=True)
    evaluate(built, evaluation_spec(config), 1)


@pytest.mark.parametrize("show", [False, True])
def test_what_paid_can_only_be_learned_from_the_last_action_and_reward(show):
    options = {"rollout_length": 20, "batch_size": 80, "epochs": 4, "learning_rate": 0.005, "gamma": 0.5}
    options |= {"entropy_coefficient": 0.02}
    changes = {"agent": options, "encoder": {"hidden": [64, 64]}, "num_envs": 16, "show_previous": show}
    config, built = trained("ppo", "none", "Bandit-v0", 6400, **changes)
    mean = evaluate(built, evaluation_spec(config), 200, explore=True).summary()["return_mean"]
    assert mean > 8.5 if show else 4 < mean < 6  # 9.5 at best, and 5
