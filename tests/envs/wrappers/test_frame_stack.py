import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.sync import SyncBackend
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.wrappers.frame_stack import BLOCK, Frames, FrameStack

from ..reset_modes import NAMES, backend_of

LENGTHS = [3, 1, 2, 7, 1, 5, BLOCK + 9, 4]


class Count(gymnasium.Env):
    """Shows (episode, step); episodes have the lengths above, and end in both ways."""

    def __init__(self, offset=0, nested=False):
        self.episode, self.offset, self.nested = -1, offset, nested
        self.observation_space = spaces.Box(0, 255, (2,), np.uint8)
        if nested:
            self.observation_space = spaces.Dict(x=self.observation_space)
        self.action_space = spaces.Discrete(2)

    def show(self):
        obs = np.array([self.episode, self.time], np.uint8)
        return {"x": obs} if self.nested else obs

    def reset(self, *, seed=None, options=None):
        self.episode, self.time = self.episode + 1, 0
        return self.show(), {}

    def step(self, action):
        self.time += 1
        done = self.time == LENGTHS[(self.episode + self.offset) % len(LENGTHS)]
        return self.show(), 1.0, done and self.episode % 2 == 0, done and self.episode % 2 == 1, {}


def stacked(episode, time, count):
    return [[episode, max(0, t)] for t in range(time - count + 1, time + 1)]


def makers(nested=False):
    return [lambda i=i: Count(i, nested) for i in range(3)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [2, 4])
def test_stacks_begin_with_their_episode_and_outlive_later_steps(name, count):
    envs = FrameStack(BackendEnvs(backend_of(name, makers())), count)
    assert envs.observation_space.shape == (count, 2)
    obs, seen, place = envs.reset(), [], [[0, 0] for _ in range(3)]
    ends = 0
    for _ in range(3 * BLOCK):
        step = envs.step(np.zeros(3, int))
        for i in range(3):
            assert obs[i].tolist() == stacked(*place[i], count) or not (step.valid is None or step.valid[i])
            if step.valid is None or step.valid[i]:
                assert step.next_obs[i].tolist() == stacked(place[i][0], place[i][1] + 1, count)
                place[i][1] += 1
            if step.first[i]:
                place[i] = [place[i][0] + 1, 0]
                ends += 1
        seen += [(array, array.copy()) for array in (step.obs, step.next_obs)]
        obs = step.obs
    assert ends > 20
    for array, copy in seen:
        np.testing.assert_array_equal(array, copy)


def test_it_shows_what_gymnasiums_wrapper_shows():
    ours = make_envs(EnvSpec("palaestra/Catch-v0", 1, seed=3, frame_stack=3))
    inner = gymnasium.make("palaestra/Catch-v0")
    theirs = gymnasium.wrappers.FrameStackObservation(inner, 3, padding_type="reset")
    assert ours.observation_space == theirs.observation_space
    obs = ours.reset()
    expected, _ = theirs.reset(seed=ours.envs._backend.seeds[0])
    for action in [0, 1, 2, 0, 2, 1, 1, 0]:
        np.testing.assert_array_equal(obs[0], expected)
        obs = ours.step(np.array([action])).obs
        expected = theirs.step(action)[0]


def test_frames_are_written_once():
    frames = Frames(np.zeros((2, 5)), 3)
    frames.add(np.ones((2, 5)))
    block, last = frames.block, frames.window
    for value in range(2, BLOCK + 1):
        frames.add(np.full((2, 5), value))
        window = frames.window
        assert frames.block is block and np.shares_memory(window, last)
        assert window[0, :, 0].tolist() == [value - 2, value - 1, value]
        last = window
    frames.add(np.full((2, 5), -1))
    assert frames.block is not block and last[0, :, 0].tolist() == [BLOCK - 2, BLOCK - 1, BLOCK]


def test_nested_observations():
    envs = FrameStack(BackendEnvs(SyncBackend(lambda i: Count(nested=True), 1, seed=0)), 2)
    assert envs.observation_space["x"].shape == (2, 2)
    assert envs.reset()["x"].tolist() == [[[0, 0], [0, 0]]]
    assert envs.step(np.zeros(1, int)).obs["x"].tolist() == [[[0, 0], [0, 1]]]


@pytest.mark.parametrize("backend", ["sync", "vector"])
def test_stacks_resume_exactly(backend):
    spec = EnvSpec("palaestra/CartPoleNoVel-v0", 3, backend=backend, frame_stack=4)
    original, restored = make_envs(spec), make_envs(spec)
    assert original.exact_resume
    original.reset()
    plan = np.random.default_rng(0).integers(0, 2, (90, 3))
    for at, action in enumerate(plan):
        if at == 47:
            restored.load_state_dict(original.state_dict())
            np.testing.assert_array_equal(restored.obs, original.obs)
        step = original.step(action)
        if at >= 47:
            again = restored.step(action)
            np.testing.assert_array_equal(again.obs, step.obs)
            np.testing.assert_array_equal(again.next_obs, step.next_obs)
            assert again.episodes == step.episodes


def test_without_exact_resume_new_episodes_begin_with_their_own_frames(register):
    register("Count-v0", Count, nondeterministic=True)
    spec = EnvSpec("Count-v0", 1, frame_stack=3)
    original, restored = make_envs(spec), make_envs(spec)
    original.reset()
    for _ in range(9):
        original.step([0])
    restored.load_state_dict(original.state_dict())
    assert len(np.unique(restored.obs[0], axis=0)) == 1


def test_wrong_requests_are_one_line():
    with pytest.raises(TypeError, match=r"^frame_stack puts Box observations together, got Discrete\(16\)"):
        make_envs(EnvSpec("FrozenLake-v1", 1, frame_stack=2))
    with pytest.raises(ValueError, match=r"^frame_stack must be at least 1, got 0$"):
        EnvSpec("CartPole-v1", frame_stack=0)


class Breaking(Count):
    """Raises in the third step of its first episode."""

    def step(self, action):
        if self.episode == 0 and self.time == 2:
            raise ValueError("broken")
        return super().step(action)


@pytest.mark.filterwarnings("ignore:environment 0 .*; restarted:RuntimeWarning")
def test_a_failed_copy_shows_what_it_showed_before_and_older_stacks_stay_as_they_were():
    envs = FrameStack(BackendEnvs(SyncBackend(lambda i: Breaking(0), 1, 0), restart_failed=True), 3)
    seen = [envs.reset()]
    copies = [seen[0].copy()]
    for _ in range(4):
        step = envs.step(np.zeros(1, np.int64))
        seen += [step.next_obs, step.obs]
        copies += [step.next_obs.copy(), step.obs.copy()]
        if step.truncated[0] and envs.restarts:
            np.testing.assert_array_equal(step.next_obs, copies[-3])
    assert envs.restarts == 1
    for one, copy in zip(seen, copies, strict=True):
        np.testing.assert_array_equal(one, copy)


class Masked(Count):
    """With a mask of what is allowed, which changes from step to step."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Dict(
            action_mask=spaces.MultiBinary(2),
            obs=self.observation_space,
            zoom=spaces.Box(0, 1, (), np.float32),
        )

    def show(self):
        mask = np.array([1, self.time % 2], np.int8)
        return {"action_mask": mask, "obs": super().show(), "zoom": np.float32(0.5)}


def test_action_masks_are_not_stacked():
    envs = FrameStack(BackendEnvs(SyncBackend(lambda i: Masked(), 2, seed=0)), 3)
    shapes = {key: part.shape for key, part in envs.observation_space.items()}
    assert shapes == {"action_mask": (2,), "obs": (3, 2), "zoom": (3,)}
    time, obs = 0, envs.reset()
    for _ in range(12):
        assert obs["action_mask"].tolist() == [[1, time % 2]] * 2
        assert obs["obs"][:, -1, 1].tolist() == [time] * 2 and obs["zoom"].shape == (2, 3)
        step = envs.step(np.zeros(2, int))
        assert step.next_obs["action_mask"].tolist() == [[1, (time + 1) % 2]] * 2
        time, obs = 0 if step.first[0] else time + 1, step.obs


def test_a_state_of_version_0_1_loads():
    """There the state of wrappers was between that of `Envs` and that of the backend."""
    spec = EnvSpec("palaestra/CartPoleNoVel-v0", 2, frame_stack=3, show_previous=True, clip_reward=True)
    original, restored = make_envs(spec), make_envs(spec)
    original.reset()
    for _ in range(7):
        original.step(np.array([0, 1]))
    outer = original.state_dict()
    frames = outer["envs"]
    inner = frames["envs"]
    resetting = np.zeros(2, bool)
    stacked = {"backend": inner["backend"], "window": frames["window"], "resetting": resetting}
    restored.load_state_dict(
        {**inner, "backend": {"backend": stacked, "parts": outer["parts"], "resetting": resetting}}
    )
    for action in ([1, 0], [1, 1], [0, 0]):
        one, other = original.step(np.array(action)), restored.step(np.array(action))
        for key in one.obs:
            np.testing.assert_array_equal(one.obs[key], other.obs[key])
