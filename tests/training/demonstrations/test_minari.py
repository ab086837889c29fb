"""Datasets of Minari's: what we write others read, what others write we read, with the traps of the real format."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.make import EnvSpec
from palaestra.networks.tree import tree_leaves
from palaestra.training.demonstrations.minari_datasets import check_new_name, read_minari, write_minari
from palaestra.training.demonstrations.recording import record_episodes, record_run
from palaestra.training.demonstrations.storage import load_demonstrations, read_folder
from palaestra.training.run.collect import RandomActor
from palaestra.training.run.start import start_run
from palaestra.training.settings.usage import UsageError

minari = pytest.importorskip("minari")


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    """A folder of its own: Minari's is in the user's home."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def test_what_a_run_recorded_comes_back_and_other_libraries_can_make_its_environment(small_config, tmp_path):
    start_run(small_config(steps=400), tmp_path / "run")
    record_run(tmp_path / "run", 3, tmp_path / "demo", minari="mine/cartpole-v0")
    ours, theirs = read_folder(tmp_path / "demo"), list(read_minari("mine/cartpole-v0"))
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.obs, other.obs)
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.reward, other.reward)
        assert one.terminated == other.terminated
    dataset = minari.load_dataset("mine/cartpole-v0")
    episode = dataset[0]
    assert len(episode.observations) == len(episode.rewards) + 1 == len(episode.truncations) + 1
    assert not dataset.storage.jpeg_encoding
    env = dataset.recover_environment()
    assert env.spec.id == "CartPole-v1"
    env.close()
    with pytest.raises(UsageError, match="there is one already"):
        record_run(tmp_path / "run", 3, tmp_path / "more", minari="mine/cartpole-v0")
    assert not (tmp_path / "more").exists()


def write_by_hand(name, env, observations, actions, rewards, terminated):
    from minari.data_collector import EpisodeBuffer

    ends = np.arange(len(rewards)) == len(rewards) - 1
    buffer = EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminations=ends & terminated,
        truncations=ends & (not terminated),
        infos={},
    )
    with pytest.warns(UserWarning):
        minari.create_dataset_from_buffers(name, [buffer], env=env)


def test_rewards_of_whole_numbers_are_read_as_all_others_are():
    write_by_hand("frozen/one-v0", "FrozenLake-v1", np.array([0, 1, 2]), np.array([2, 2]), [0, 1], True)
    space = gymnasium.make("FrozenLake-v1")
    assert np.asarray(minari.load_dataset("frozen/one-v0")[0].rewards).dtype == np.int64
    found = load_demonstrations(["minari:frozen/one-v0"], space.observation_space, space.action_space)
    assert found.episodes[0].reward.dtype == np.float32
    assert found.episodes[0].terminated and found.num_steps == 2


def test_actions_are_clipped_to_their_bounds_as_the_environment_does():
    obs = np.zeros((3, 3), np.float32)
    write_by_hand("pendulum/one-v0", "Pendulum-v1", obs, np.float32([[5.0], [-1.0]]), [0.0, 0.0], False)
    env = gymnasium.make("Pendulum-v1")
    found = load_demonstrations(["minari:pendulum/one-v0"], env.observation_space, env.action_space)
    np.testing.assert_array_equal(found.episodes[0].action, [[2.0], [-1.0]])
    assert not found.episodes[0].terminated


@pytest.mark.parametrize(
    ("rows", "actions", "reason"),
    [
        (2, [[0.0], [0.0]], "episode 0: observations: 2, where its rewards need 3"),
        (3, [[0.0]], "episode 0: actions: 1, where its rewards need 2"),
        (3, [[0.0], [np.nan]], "episode 0: action .*nan.* in step 1"),
    ],
)
def test_what_minari_does_not_check_is_checked(rows, actions, reason):
    obs = np.zeros((rows, 3), np.float32)
    write_by_hand("pendulum/bad-v0", "Pendulum-v1", obs, np.float32(actions), [0.0, 0.0], False)
    env = gymnasium.make("Pendulum-v1")
    with pytest.raises(UsageError, match=reason):
        load_demonstrations(["minari:pendulum/bad-v0"], env.observation_space, env.action_space)


class Pictures(gymnasium.Env):
    """A Dict in an order that sorting changes, with a picture of noise that no JPEG keeps."""

    observation_space = spaces.Dict(z=spaces.Discrete(4), picture=spaces.Box(0, 255, (8, 8, 3), np.uint8))
    action_space = spaces.Tuple([spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)])

    def _obs(self):
        return {"z": self.time, "picture": self.np_random.integers(0, 256, (8, 8, 3), np.uint8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._obs(), {}

    def step(self, action):
        self.time += 1
        return self._obs(), 1.0, False, self.time == 3, {}


def test_dicts_tuples_and_pictures_come_back_exactly():
    before = dict(gymnasium.registry)
    gymnasium.register("Pictures-v0", Pictures)
    try:
        actor = RandomActor(Pictures.action_space, 2, 0)
        played, _ = record_episodes(actor, EnvSpec("Pictures-v0", 1, seed=0), 2, explore=True)
    finally:
        gymnasium.registry.clear()
        gymnasium.registry.update(before)
    pair = Pictures.observation_space, Pictures.action_space
    write_minari("mine/pictures-v0", played, *pair, env_spec=None, agent="random", description="noise")
    found = load_demonstrations(["minari:mine/pictures-v0"], *pair)
    for one, other in zip(played.episodes, found.episodes, strict=True):
        assert list(other.obs) == list(one.obs)
        for left, right in zip(
            tree_leaves((one.obs, one.action)), tree_leaves((other.obs, other.action)), strict=True
        ):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("env", "kwargs", "spec"),
    [
        ("palaestra/Recall-v0", {}, None),
        ("CartPole-v1", {"max_episode_steps": -1}, "CartPole-v1"),
    ],
    ids=["made by a function", "without a limit"],
)
def test_environments_that_a_spec_can_hardly_say(env, kwargs, spec, small_config, tmp_path):
    """One that a function makes cannot be written down; -1 is no limit as an argument, and no number in a spec."""
    start_run(small_config(steps=400, env=env, env_kwargs=kwargs), tmp_path / "run")
    record_run(tmp_path / "run", 2, tmp_path / "demo", max_steps=30, minari="mine/odd-v0")
    dataset = minari.load_dataset("mine/odd-v0")
    assert dataset.total_episodes == 2
    assert (dataset.env_spec.id if dataset.env_spec else None) == spec
    if spec is not None:
        assert dataset.env_spec.max_episode_steps is None


def test_a_dataset_that_cannot_be_written_leaves_its_name_free(datasets, small_config, tmp_path, monkeypatch):
    start_run(small_config(steps=400), tmp_path / "run")

    def fail(name, *_, **__):
        (datasets / name / "data").mkdir(parents=True)
        raise OSError("the disk is full")

    with monkeypatch.context() as context:
        context.setattr(minari, "create_dataset_from_buffers", fail)
        with pytest.raises(UsageError, match=r"^--minari mine/x-v0: .*the disk is full"):
            record_run(tmp_path / "run", 2, tmp_path / "demo", minari="mine/x-v0")
    # What was played is not lost.
    assert len(read_folder(tmp_path / "demo")) == 2
    record_run(tmp_path / "run", 2, tmp_path / "again", minari="mine/x-v0")


def test_names_that_are_none_are_named(datasets):
    with pytest.raises(UsageError, match=r"--minari cartpole: expected NAMESPACE/NAME-vN"):
        check_new_name("cartpole")
    with pytest.raises(UsageError, match=r"there is none here; \(to fetch it: minari download mine/x-v0\)"):
        list(read_minari("mine/x-v0"))
    write_by_hand("frozen/one-v0", "FrozenLake-v1", np.array([0, 1, 2]), np.array([2, 2]), [0, 1], True)
    with pytest.raises(UsageError, match=r"did you mean 'frozen/one-v0'\?"):
        list(read_minari("frozen/on-v0"))


def test_without_minari_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'palaestra\[minari\]'"):
        list(read_minari("mine/x-v0"))
