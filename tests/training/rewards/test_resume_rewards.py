"""Whatever a learned reward is, it goes on exactly: from its parts, and after a SIGKILL."""

import itertools
import random

import numpy as np
import pytest

from palaestra.training.rewards.count import Count, CountConfig
from palaestra.training.rewards.gail import GAIL, GAILConfig
from palaestra.training.rewards.reachability import Reachability, ReachabilityConfig
from palaestra.training.rewards.rewarded import Rewarded
from palaestra.training.rewards.rnd import RND, RNDConfig
from palaestra.training.run.clocks import Meter
from palaestra.training.run.storage.checkpoint import load_checkpoint, save_checkpoint
from palaestra.training.tracking.metrics_file import read_metrics

from ..run.test_resume import everything, kill_when
from ..run.test_resume import start as start
from .steps import ACTIONS, SPACES, demonstrations, random_demonstrations, random_steps, setting

SOURCES = {
    "count": (Count, CountConfig, {}),
    "first visits": (Count, CountConfig, {"first_visits": True, "hash": "simhash", "bits": 3}),
    "rnd": (RND, RNDConfig, {"train_every": 30, "batch_size": 16, "hidden": (8,)}),
    "reachability": (
        Reachability,
        ReachabilityConfig,
        {
            **{"train_every": 30, "batch_size": 16, "hidden": (8,), "updates": 2, "warm_up": 50, "near": 1},
            **{"history": 120, "memory": 4, "gap": 2.0},
        },
    ),
    "gail": (GAIL, GAILConfig, {"train_every": 30, "batch_size": 16, "hidden": (8,)}),
}


def made_for(source_class, folder, space, **more):
    """A setting for observations of a space, with demonstrations where they are needed."""
    if source_class.watches:
        more["data"] = (random_demonstrations(folder, space, ACTIONS["box"]),)
    return setting(space, ACTIONS["box"], **more)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", SOURCES)
def test_a_learned_reward_goes_on_exactly_from_its_parts(name, space, tmp_path):
    source_class, config, options = SOURCES[name]
    made = made_for(source_class, tmp_path / "data", SPACES[space])
    one, other = (source_class(config(**options), made) for _ in range(2))
    steps = random_steps(made)
    for transition in itertools.islice(steps, 64):
        one.reward(transition)
    save_checkpoint(tmp_path, 0, one.parts())
    load_checkpoint(tmp_path / "checkpoints" / "000000000", other.parts())
    rewards = []
    for transition in itertools.islice(steps, 64):
        rewards.append(one.reward(transition))
        again = other.reward(transition)
        np.testing.assert_array_equal(rewards[-1][0], again[0])
        assert rewards[-1][1] == again[1]
    assert any(reward.any() for reward, _ in rewards)


@pytest.mark.parametrize("name", SOURCES)
def test_equal_seeds_give_equal_rewards_and_others_do_not(name, tmp_path):
    source_class, config, options = SOURCES[name]

    def total(seed):
        made = made_for(source_class, tmp_path / str(seed), SPACES["picture"], seed=seed)
        source = source_class(config(**options), made)
        return sum(source.reward(each)[0].sum() for each in itertools.islice(random_steps(made), 80))

    assert total(0) == total(0)
    if name != "count":  # whose cells differ only where they are shared; first visits share them
        assert total(0) != total(1)


CLOCKS = ["--checkpoint-every", "400", "--log-every", "100", "--evaluate-episodes", "1", "--track", "none"]
RUNS = {
    "count": ["ppo", "--env", "CartPole-v1", "--steps", "3k", "--bonus", "count", "--bonus.first-visits"],
    "rnd": [
        *[
            "dqn",
            "--env",
            "CartPole-v1",
            "--steps",
            "1500",
            "--bonus",
            "rnd",
            "--agent.learning-starts",
            "300",
        ],
        *["--agent.gradient-steps", "8", "--bonus.train-every", "200"],
    ],
    "reachability": [
        *["reinforce", "--env", "CartPole-v1", "--steps", "2k", "--bonus", "reachability"],
        *[
            "--agent.steps-per-update",
            "500",
            "--bonus.warm-up",
            "500",
            "--bonus.near",
            "2",
            "--bonus.gap",
            "2",
        ],
        *["--bonus.history", "800"],
    ],
    "gail": [
        *["ppo", "--env", "CartPole-v1", "--steps", "3k", "--reward", "gail", "--bonus", "rnd"],
        *["--reward.train-every", "300", "--data"],
    ],
}


# The run that imitates has a bonus, too, so that both kinds are killed by default.
@pytest.mark.parametrize(
    "name", [name if name == "gail" else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_a_run_killed_and_resumed_equals_one_left_alone(name, start, tmp_path):
    options = RUNS[name]
    if name == "gail":
        obs = np.random.default_rng(0).normal(size=(31, 4)).astype(np.float32)
        options = [*options, demonstrations(tmp_path / "data", obs, np.arange(30) % 2)]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    start(*options, *CLOCKS, "--out", str(alone)).join()
    rows = random.Random(name).randrange(5, len(read_metrics(alone)) - 2)
    assert kill_when(start(*options, *CLOCKS, "--out", str(killed)), killed, rows)
    start("--resume", str(killed)).join()
    for left, right in zip(everything(alone), everything(killed), strict=True):
        assert left == right


def test_the_steps_between_are_those_of_the_collector():
    """Rewards are replaced by one source and then added to by another; everything else is as it was."""
    made = setting(num_envs=2)
    steps = random_steps(made)

    class Collector:
        envs = None

        def step(self):
            return next(steps), ["an episode"]

    class Constant:
        def __init__(self, value, replaces):
            self.value, self.replaces = value, replaces

        def reward(self, transition):
            return np.full(2, self.value), {f"of {self.value}": self.value}

    expected = list(itertools.islice(random_steps(made), 2))
    meter = Meter()
    added = Rewarded(Collector(), {"bonus": Constant(0.5, False)}, meter)
    transition, episodes = added.step()
    np.testing.assert_array_equal(transition.reward, expected[0].reward + 0.5)
    np.testing.assert_array_equal(transition.next_obs, expected[0].next_obs)
    assert episodes == ["an episode"] and meter.read() == {"of 0.5": 0.5}
    replaced = {"reward": Constant(2.0, True), "bonus": Constant(0.5, False)}
    assert Rewarded(Collector(), replaced, meter).step()[0].reward.tolist() == [2.5, 2.5]
