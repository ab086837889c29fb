import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.sync import SyncBackend
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.wrappers.previous import ShowPrevious, action_encoder

from ..reset_modes import NAMES, backend_of

LENGTHS = [3, 1, 2, 7, 1, 5]


class Count(gymnasium.Env):
    """Shows the step, pays ten times the action; episodes have the lengths above, and end in both ways."""

    def __init__(self, offset=0, nested=False):
        self.episode, self.offset, self.nested = -1, offset, nested
        self.observation_space = spaces.Box(0, 255, (1,), np.float32)
        if nested:
            self.observation_space = spaces.Dict(x=self.observation_space)
        self.action_space = spaces.Discrete(3, start=1)

    def show(self):
        obs = np.array([self.time], np.float32)
        return {"x": obs} if self.nested else obs

    def reset(self, *, seed=None, options=None):
        self.episode, self.time = self.episode + 1, 0
        return self.show(), {}

    def step(self, action):
        self.time += 1
        done = self.time == LENGTHS[(self.episode + self.offset) % len(LENGTHS)]
        return self.show(), 10.0 * action, done and self.episode % 2 == 0, done and self.episode % 2 == 1, {}


def makers():
    return [lambda i=i: Count(i) for i in range(3)]


@pytest.mark.parametrize("name", NAMES)
def test_the_last_action_and_reward_are_shown_and_forgotten_at_an_episodes_start(name):
    envs = ShowPrevious(BackendEnvs(backend_of(name, makers())))
    assert list(envs.observation_space) == ["obs", "previous_action", "previous_reward"]
    obs, generator = envs.reset(), np.random.default_rng(0)
    shown = [(np.zeros(3), 0.0)] * 3
    ends, seen = 0, []
    for _ in range(60):
        for i in range(3):
            assert obs["previous_action"][i].tolist() == shown[i][0].tolist()
            assert obs["previous_reward"][i].tolist() == [shown[i][1]]
            assert obs["obs"][i, 0] > 0 or shown[i][1] == 0
        action = generator.integers(1, 4, 3)
        step = envs.step(action)
        for i in range(3):
            if step.valid is None or step.valid[i]:
                assert step.next_obs["previous_action"][i].argmax() == action[i] - 1
                assert step.next_obs["previous_reward"][i] == 10 * action[i] == step.reward[i]
            shown[i] = (np.eye(3)[action[i] - 1], 10.0 * action[i])
            if step.first[i]:
                shown[i] = (np.zeros(3), 0.0)
                ends += 1
        parts = [part[key] for part in (step.obs, step.next_obs) for key in part]
        seen += [(array, array.copy()) for array in parts]
        obs = step.obs
    assert ends > 30
    for array, copy in seen:
        np.testing.assert_array_equal(array, copy)


def test_dict_observations_get_two_keys_and_stacks_are_shown_beside_them():
    envs = ShowPrevious(BackendEnvs(SyncBackend(lambda i: Count(nested=True), 1, seed=0)))
    assert set(envs.reset()) == {"x", "previous_action", "previous_reward"}
    envs = make_envs(EnvSpec("palaestra/PendulumNoVel-v0", 2, frame_stack=3, show_previous=True))
    obs = envs.reset()
    assert obs["obs"].shape == (2, 3, 2) and obs["previous_action"].shape == (2, 1)
    assert envs.observation_space.contains({key: part[0] for key, part in obs.items()})


def resumes_exactly(spec):
    """Step CartPole, bring other copies to where it is midway, compare what both show from there; returns its parts."""
    original, restored = make_envs(spec), make_envs(spec)
    original.reset()
    plan = np.random.default_rng(0).integers(0, 2, (60, spec.num_envs))
    for at, action in enumerate(plan):
        if at == 31:
            restored.load_state_dict(original.state_dict())
        step = original.step(action)
        if at >= 31:
            again = restored.step(action)
            for one, other in ((step.obs, again.obs), (step.next_obs, again.next_obs)):
                assert all(np.array_equal(one[key], other[key]) for key in one)
    return set(step.obs)


@pytest.mark.parametrize("backend", ["sync", "vector"])
def test_it_resumes_exactly(backend):
    resumes_exactly(EnvSpec("palaestra/CartPoleNoVel-v0", 3, backend=backend, show_previous=True))


def test_actions_as_vectors():
    multi = spaces.MultiDiscrete([2, 3], start=[1, 0])
    assert action_encoder(multi)(np.array([[2, 0]])).tolist() == [[0, 1, 1, 0, 0]]
    assert action_encoder(spaces.Box(-1, 1, (1, 2)))(np.array([[[0.5, 1]]])).tolist() == [[0.5, 1]]
    assert action_encoder(spaces.MultiBinary(2))(np.array([[0, 1]])).dtype == np.float32


def test_nested_actions_are_shown_part_by_part():
    """By the order of the keys, whichever the space or the action has; small integer Boxes are choices."""
    where, kind = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2, start=3)
    encode = action_encoder(
        spaces.Dict(where=where, more=spaces.Tuple([kind, spaces.Box(0, 2, (1,), np.int64)]))
    )
    action = {"where": np.float32([[0.5, -1]]), "more": (np.array([4]), np.array([[2]]))}
    assert encode(action).tolist() == [[0, 1, 0, 0, 1, 0.5, -1]]


def test_wrong_requests_are_one_line():
    with pytest.raises(TypeError, match=r"^no vector for Text"):
        action_encoder(spaces.Tuple([spaces.Text(2)]))
    taken = spaces.Dict(previous_action=spaces.Discrete(2))
    backend = SyncBackend(lambda i: Count(), 1, seed=0)
    backend.observation_space = taken
    with pytest.raises(ValueError, match="have a part 'previous_action' of their own"):
        ShowPrevious(BackendEnvs(backend))
