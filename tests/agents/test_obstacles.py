"""Whether a run is long enough to learn anything, against a run of the clocks themselves."""

from itertools import product

import pytest

from palaestra.agents.agent import Counter
from palaestra.agents.ddpg import DDPGConfig
from palaestra.agents.dqn import DQNConfig
from palaestra.agents.ppo import PPOConfig
from palaestra.agents.pqn import PQNConfig
from palaestra.agents.reinforce import REINFORCEConfig


def updates_of(config, steps, num_envs) -> int:
    """Gradient steps of a run of an agent with a replay."""
    counter, updates = Counter(steps), 0
    while counter.count < steps:
        counter.add(num_envs)
        if (passed := counter.passed(config.train_every)) and counter.count > config.learning_starts:
            updates += passed * config.steps_per_update
    return updates


@pytest.mark.parametrize("num_envs", [1, 3, 8])
@pytest.mark.parametrize("agent", [DQNConfig, DDPGConfig])
def test_replay(agent, num_envs):
    for starts, every, steps in product(range(0, 30, 2), (1, 3, 7, 16), range(1, 30, 2)):
        config = agent(learning_starts=starts, train_every=every)
        found = config.obstacle(steps, num_envs)
        assert (found is None) == (updates_of(config, steps, num_envs) > 0)
        if found is None:
            continue
        assert updates_of(config, found.steps_needed, num_envs) > 0
        if found.option == "learning_starts":
            for value, learns in ((found.largest, True), (found.largest + 1, False)):
                other = agent(learning_starts=value, train_every=every)
                assert (updates_of(other, steps, num_envs) > 0) == learns


def test_an_actor_that_is_never_updated():
    for starts, every, steps, delay, gradient_steps in product(
        (0, 5, 12), (1, 3, 7), range(1, 40, 3), (1, 2, 9), (1, -1, 4)
    ):
        config = DDPGConfig(
            learning_starts=starts, train_every=every, policy_delay=delay, gradient_steps=gradient_steps
        )
        found = config.obstacle(steps, 3)
        assert (found is None) == (updates_of(config, steps, 3) >= delay)
        if found is not None and found.option == "policy_delay":
            assert updates_of(config, found.steps_needed, 3) >= delay


@pytest.mark.parametrize("agent", [PPOConfig, PQNConfig])
def test_rollouts(agent):
    assert agent(rollout_length=125).obstacle(1000, 8) is None
    assert agent(rollout_length=126).obstacle(1001, 8) is None  # a run goes on to whole vector steps
    assert agent(rollout_length=256).obstacle(1000, 8) == ("rollout_length", 125, 2048)


def test_episodes():
    assert REINFORCEConfig(steps_per_update=1000).obstacle(1000, 8) is None
    assert REINFORCEConfig(steps_per_update=1001).obstacle(1000, 8) == ("steps_per_update", 1000, 1001)
    assert REINFORCEConfig(steps_per_update=1, episodes_per_update=20).obstacle(10, 1).option == (
        "episodes_per_update"
    )
