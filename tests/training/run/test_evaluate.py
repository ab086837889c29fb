import gymnasium as gym
import numpy as np
import pytest

from palaestra.envs.make import EnvSpec
from palaestra.training.demonstrations.recording import record_episodes
from palaestra.training.run.evaluate import evaluate, interquartile_mean, quotas


class Countdown(gym.Env):
    """An episode lasts as long as its seed says: 1 to 6 steps, each worth 1."""

    observation_space = gym.spaces.Box(0, 10, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 7))
        return np.array([self.left], np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.array([self.left], np.float32), 1.0, self.left == 0, False, {}


class Idle:
    def __init__(self):
        self.explored = []

    def initial_state(self, num_envs):
        return np.zeros((num_envs, 1), np.float32)

    def act(self, obs, state, first, explore=True):
        # The state counts steps since an episode began, so it shows whether `first` and `state` fit together.
        self.explored.append(explore)
        return np.zeros(len(obs), int), np.where(first[:, None], 0, state) + 1


@pytest.fixture(autouse=True)
def countdown():
    gym.register("Countdown-v0", entry_point=Countdown)
    yield
    del gym.registry["Countdown-v0"]


def test_short_episodes_are_not_favoured():
    """Taking whichever episodes end first would give many of length 1; the mean of 1 to 6 is 3.5."""
    evaluation = evaluate(Idle(), EnvSpec("Countdown-v0", 1, seed=3), 1000)
    assert len(evaluation.returns) == 1000
    assert np.mean(evaluation.returns) == pytest.approx(3.5, abs=3 * np.std([1, 2, 3, 4, 5, 6]) / 1000**0.5)
    assert evaluation.returns == evaluation.lengths


class Flaky(Countdown):
    """Episodes of 2 steps, about half of which break in the second one."""

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.broken, self.left = self.left % 2, 2
        return obs, info

    def step(self, action):
        if self.broken and self.left == 1:
            raise ValueError("a sensor is lost")
        return super().step(action)


@pytest.mark.filterwarnings(r"ignore:environment \d+ failed.*restarted:RuntimeWarning")
def test_episodes_that_break_are_not_counted():
    gym.register("Flaky-v0", entry_point=Flaky)
    spec = EnvSpec("Flaky-v0", 1, seed=3, on_error="restart")
    evaluation = evaluate(Idle(), spec, 40)
    recorded, cut = record_episodes(Idle(), spec, 20, explore=False)
    del gym.registry["Flaky-v0"]
    assert evaluation.returns == evaluation.lengths == [2] * 40
    assert [episode.length for episode in recorded.episodes] == [2] * 20 and cut == 0


def test_the_same_seed_gives_the_same_episodes():
    first, again, other = (
        evaluate(Idle(), EnvSpec("Countdown-v0", 1, seed=s), 30).returns for s in (1, 1, 2)
    )
    assert first == again != other


def test_actions_are_the_best_ones_unless_asked():
    for explore in (False, True):
        agent = Idle()
        evaluate(agent, EnvSpec("Countdown-v0", 1), 3, explore=explore)
        assert set(agent.explored) == {explore}


def test_quotas_share_equally():
    assert quotas(100, 25) == [4] * 25
    assert quotas(7, 3) == [3, 2, 2]


def test_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([100.0, 1, 2, 3])) == 2.5
    assert interquartile_mean(np.array([9.0, 1, 2, 3, -50])) == 2.0
    assert interquartile_mean(np.array([4.0])) == 4.0
