import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.make import EnvSpec
from palaestra.training.demonstrations.recording import record_episodes, record_run
from palaestra.training.demonstrations.storage import fitted, load_demonstrations, read_folder
from palaestra.training.run.collect import RandomActor
from palaestra.training.run.evaluate import evaluate
from palaestra.training.run.loaded import load_run
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import CheckpointCorruptError
from palaestra.training.settings.config import run_config
from palaestra.training.settings.usage import UsageError
from palaestra.training.settings.yaml_files import load_yaml
from palaestra.world_models.datasets import RecordedEpisode


class Countdown(gymnasium.Env):
    """Episodes of 1 to 9 steps; the observation is how many are left."""

    observation_space = spaces.Box(0, 9, (1,), np.float64)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 10))
        return np.array([self.left], np.float64), {}

    def step(self, action):
        self.left -= 1
        return np.array([self.left], np.float64), 1.0, self.left == 0, False, {}


class TooFar:
    """Asks for more than the bounds allow, and remembers how often it was asked."""

    def initial_state(self, num_envs):
        return np.zeros((num_envs, 1), np.float32)

    def act(self, obs, state, first, explore=True):
        state = np.where(first[:, None], 0, state) + 1
        return np.concatenate([state, -state], 1).astype(np.float32) * 0.5, state


@pytest.fixture(autouse=True)
def environments():
    before = dict(gymnasium.registry)
    gymnasium.register("Countdown-v0", Countdown)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def test_episodes_are_whole_in_no_order_of_length_and_actions_are_what_was_executed():
    played, cut = record_episodes(TooFar(), EnvSpec("Countdown-v0", 1, seed=3), 60, explore=False)
    lengths = [episode.length for episode in played.episodes]
    assert len(lengths) == 60 and cut == 0
    # The first ones are no shorter than the others: none waits for the end of a longer one.
    assert 3.5 < np.mean(lengths[:25]) < 6.5
    for episode in played.episodes:
        assert episode.terminated and episode.opens
        assert episode.obs.dtype == np.float32
        np.testing.assert_array_equal(episode.obs[:, 0], np.arange(episode.length, -1, -1))
        times = np.arange(1, episode.length + 1) * 0.5
        np.testing.assert_array_equal(episode.action, np.minimum(times, 1)[:, None] * [1, -1])


def test_too_long_episodes_are_cut_off_and_counted():
    spec = EnvSpec("Countdown-v0", 1, seed=0, max_steps=2)
    played, cut = record_episodes(TooFar(), spec, 10, explore=False)
    assert max(episode.length for episode in played.episodes) == 2
    assert cut == sum(not episode.terminated for episode in played.episodes) > 0


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "ppo"
    values = {"agent": {"name": "ppo", "rollout_length": 32}, "env": "CartPole-v1", "memory": "gru"}
    values |= {"steps": 600, "num_envs": 4, "evaluate_episodes": 1, "track": "none"}
    start_run(run_config(values), folder)
    return folder


def test_a_run_with_a_memory_is_recorded_as_it_is_evaluated(run_dir, tmp_path):
    report = record_run(run_dir, 5, tmp_path / "demo", seed=7)
    run = load_run(run_dir)
    expected = evaluate(run.agent, EnvSpec("CartPole-v1", 1, seed=7), 5)
    assert report["return_mean"] == expected.summary()["return_mean"]
    lengths = [episode.length for episode in read_folder(tmp_path / "demo")]
    assert lengths == expected.lengths
    assert load_yaml(tmp_path / "demo" / "demonstrations.yaml")["agent"] == "ppo"
    again = record_run(run_dir, 5, tmp_path / "again", seed=7, explore=True)
    assert again["explore"] and again["steps"] != report["steps"]


def test_without_a_seed_the_episodes_are_none_that_a_run_is_judged_by(run_dir, tmp_path):
    report = record_run(run_dir, 2, tmp_path / "demo")
    assert report["seed"] == 4_000_000


def test_it_is_read_back_for_the_spaces_that_it_fits(run_dir, tmp_path):
    record_run(run_dir, 4, tmp_path / "a")
    record_run(run_dir, 3, tmp_path / "b", seed=1)
    cartpole = gymnasium.make("CartPole-v1")
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    spaces_ = cartpole.observation_space, cartpole.action_space
    assert len(load_demonstrations(names, *spaces_)) == 7
    five = load_demonstrations(names, *spaces_, limit=5)
    one, other = read_folder(tmp_path / "b")[0], five.episodes[4]
    np.testing.assert_array_equal(one.obs, other.obs)
    with pytest.raises(UsageError, match=r"--episodes 8: .* has 7$"):
        load_demonstrations(names, *spaces_, limit=8)
    with pytest.raises(UsageError, match=r"episode 0: observations of shape \(4,\) are none of Box"):
        load_demonstrations(names, spaces.Box(-1, 1, (2, 4), np.float32), spaces.Discrete(2))
    with pytest.raises(
        UsageError, match=r"episode 0: action \d in step \d+, which is no action of its space"
    ):
        load_demonstrations(names, spaces_[0], spaces.Discrete(2, start=5))


def test_what_is_no_folder_of_demonstrations_is_named(run_dir, tmp_path):
    with pytest.raises(UsageError, match=r"it is a run; record it first: palaestra record"):
        read_folder(run_dir)
    with pytest.raises(UsageError, match=r"there is no such folder .*minari:NAME"):
        read_folder(tmp_path / "nowhere")


def test_a_flipped_bit_is_noticed(run_dir, tmp_path):
    record_run(run_dir, 2, tmp_path / "demo")
    path = next((tmp_path / "demo").rglob("tensors.safetensors"))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        (CheckpointCorruptError, UsageError), match=r"has no checkpoint to go on from|changed"
    ):
        read_folder(tmp_path / "demo")


def test_nothing_is_overwritten(run_dir, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        record_run(run_dir, 2, tmp_path)


def test_random_actors_of_nested_spaces_can_be_recorded(tmp_path):
    spec = EnvSpec("palaestra/BitFlip-v0", 1, seed=0)
    from palaestra.envs.make import make_envs

    envs = make_envs(spec)
    played, _ = record_episodes(RandomActor(envs.action_space, 3, 0), spec, 3, explore=True)
    assert isinstance(played.episodes[0].obs, dict)
    envs.close()


def test_observations_get_the_type_of_their_space_and_what_it_cannot_hold_is_named():
    box, two = spaces.Box(0, 255, (1,), np.uint8), spaces.Discrete(2)
    floats = np.array([[3.0], [4.0]])
    episode = RecordedEpisode(floats, np.array([1]), np.ones(1, np.float32), terminated=True)
    assert fitted(episode, box, two, "here").obs.dtype == np.uint8
    assert fitted(episode, spaces.Box(0, 9, (1,), np.float64), two, "here").obs.dtype == np.float32
    with pytest.raises(UsageError, match=r"here: an observation with 300\.0 at \[1, 0\]"):
        fitted(episode._replace(obs=floats * [[1], [75]]), box, two, "here")
    with pytest.raises(UsageError, match="here: it has no steps"):
        fitted(episode._replace(reward=np.ones(0, np.float32)), box, two, "here")
    with pytest.raises(UsageError, match="here: it holds NaN"):
        fitted(episode._replace(obs=floats * np.nan), spaces.Box(0, 9, (1,), np.float32), two, "here")
