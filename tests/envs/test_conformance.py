"""A scripted environment whose every transition is known, through every backend and auto-reset mode."""

import sys

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.native import VectorBackend
from palaestra.envs.backends.processes import AsyncBackend
from palaestra.envs.backends.sync import SyncBackend
from palaestra.envs.vector import Episode

# Worker processes cannot import a test file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# Episode k of environment i has LENGTHS[i][k] steps. It shows (i, k, t), rewards 100 k + 10 t + action, and is
# terminated where k is even, truncated where it is odd.
LENGTHS = [[3, 1, 2, 4, 1, 1, 9], [1, 1, 1, 5, 2, 9], [2, 6, 1, 9]]
SPACE = spaces.Box(0, 255, (3,), np.float32)
NESTED = spaces.Dict({"place": spaces.Box(0, 255, (2,), np.float32), "time": spaces.Discrete(10)})


def show(i, k, t, nested=False):
    if nested:
        return {"place": np.array([i, k], np.float32), "time": t}
    return np.array([i, k, t], np.float32)


def policy(obs):
    """An action 0, 1 or 2 that follows from the observation [B, ...]."""
    if isinstance(obs, dict):
        return (obs["place"].sum(-1) + obs["time"]).astype(np.int64) % 3
    return obs.sum(-1).astype(np.int64) % 3


def known_stream(i):
    """(obs, action, reward, terminated, truncated, next_obs, first) of environment i, all episodes."""
    for k, length in enumerate(LENGTHS[i]):
        for t in range(length):
            action, last = (i + k + t) % 3, t == length - 1
            reward = 100 * k + 10 * t + action
            yield (i, k, t), action, reward, last and k % 2 == 0, last and k % 2 == 1, (i, k, t + 1), t == 0


def test_the_known_stream_by_hand():
    assert list(known_stream(0))[:5] == [
        ((0, 0, 0), 0, 0, False, False, (0, 0, 1), True),
        ((0, 0, 1), 1, 11, False, False, (0, 0, 2), False),
        ((0, 0, 2), 2, 22, True, False, (0, 0, 3), False),
        ((0, 1, 0), 1, 101, False, True, (0, 1, 1), True),
        ((0, 2, 0), 2, 202, False, False, (0, 2, 1), True),
    ]


class Single(gymnasium.Env):
    def __init__(self, i, nested=False):
        self.i, self.k, self.nested = i, -1, nested
        self.observation_space, self.action_space = NESTED if nested else SPACE, spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        self.k, self.t = self.k + 1, 0
        return show(self.i, self.k, 0, self.nested), {}

    def step(self, action):
        reward = 100.0 * self.k + 10 * self.t + action
        self.t += 1
        last = self.t == LENGTHS[self.i][self.k]
        obs = show(self.i, self.k, self.t, self.nested)
        return obs, reward, last and self.k % 2 == 0, last and self.k % 2 == 1, {}


class Native(VectorEnv):
    """The same as a vector environment, which writes every step into the same arrays."""

    def __init__(self, mode, batched_final_obs=False):
        self.num_envs, self.mode, self.batched = len(LENGTHS), mode, batched_final_obs
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space, self.single_action_space = SPACE, spaces.Discrete(3)
        self.envs = [Single(i) for i in range(self.num_envs)]
        self.obs = np.zeros((self.num_envs, 3), np.float32)
        self.reward = np.zeros(self.num_envs)
        self.terminated, self.truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for i in np.flatnonzero(mask):
            self.obs[i], _ = self.envs[i].reset()
        self.over = np.zeros(self.num_envs, bool)
        return self.obs, {}

    def step(self, actions):
        resetting = self.over & (self.mode is AutoresetMode.NEXT_STEP)
        for i, env in enumerate(self.envs):
            if resetting[i]:
                self.obs[i], _ = env.reset()
                # What a careless backend may leave in such a row.
                self.reward[i], self.terminated[i], self.truncated[i] = 77, True, False
            else:
                self.obs[i], self.reward[i], self.terminated[i], self.truncated[i], _ = env.step(actions[i])
        self.over = (self.terminated | self.truncated) & ~resetting
        info = {}
        if self.mode is AutoresetMode.SAME_STEP and self.over.any():
            info["final_obs"] = self.obs.copy()
            if not self.batched:
                rows = [row if over else None for row, over in zip(self.obs.copy(), self.over, strict=True)]
                info["final_obs"] = np.array([*rows, None], object)[:-1]
            for i in np.flatnonzero(self.over):
                self.obs[i], _ = self.envs[i].reset()
        return self.obs, self.reward, self.terminated, self.truncated, info


def sync(nested):
    return BackendEnvs(SyncBackend(lambda i: Single(i, nested), len(LENGTHS), seed=0))


def processes(nested):
    return BackendEnvs(AsyncBackend(lambda i: Single(i, nested), len(LENGTHS), seed=0, workers=2))


def gymnasium_vector(mode):
    def make(nested):
        makers = [lambda i=i: Single(i, nested) for i in range(len(LENGTHS))]
        return BackendEnvs(VectorBackend(SyncVectorEnv(makers, copy=False, autoreset_mode=mode), seed=0))

    return make


def native_vector(mode, **kwargs):
    return lambda nested: BackendEnvs(VectorBackend(Native(mode, **kwargs), seed=0))


BACKENDS = {
    "sync": sync,
    "async": processes,
    **{f"gymnasium {mode.value}": gymnasium_vector(mode) for mode in AutoresetMode},
    **{f"native {mode.value}": native_vector(mode) for mode in AutoresetMode},
    "native SameStep, batched": native_vector(AutoresetMode.SAME_STEP, batched_final_obs=True),
}
CASES = [(name, nested) for name in BACKENDS for nested in (False, True) if not (nested and "native" in name)]


@pytest.fixture
def make():
    """Make environments by backend, and close them after the test."""
    made = []

    def make(name, nested=False):
        made.append(BACKENDS[name](nested))
        return made[-1]

    yield make
    for envs in made:
        envs.close()


def row(obs, i):
    if isinstance(obs, dict):
        return (*(int(x) for x in obs["place"][i]), int(obs["time"][i]))
    return tuple(int(x) for x in obs[i])


def collect(envs, steps):
    """The valid rows of every environment, the episodes, and all steps."""
    streams, episodes, kept = [[] for _ in LENGTHS], [], []
    obs, first = envs.reset(), np.ones(len(LENGTHS), bool)
    for _ in range(steps):
        action = policy(obs)
        step = envs.step(action)
        for i, stream in enumerate(streams):
            if step.valid is None or step.valid[i]:
                values = (int(action[i]), step.reward[i], bool(step.terminated[i]), bool(step.truncated[i]))
                stream.append((row(obs, i), *values, row(step.next_obs, i), bool(first[i])))
        episodes += step.episodes
        kept.append(step)
        obs, first = step.obs, step.first
    return streams, episodes, kept


@pytest.mark.parametrize(("name", "nested"), CASES)
def test_every_backend_gives_the_known_stream(make, name, nested):
    envs = make(name, nested)
    streams, episodes, _ = collect(envs, 11)
    for i, stream in enumerate(streams):
        # Next-step resetting spends a row on each of up to 5 ends.
        assert len(stream) >= 6
        assert stream == list(known_stream(i))[: len(stream)]
    assert [e._replace(seed=None) for e in episodes if e.env_index == 0][:3] == [
        Episode(0, None, 0 + 11 + 22, 3, True),
        Episode(0, None, 101, 1, False),
        Episode(0, None, 202 + 210, 2, True),
    ]
    assert [e._replace(seed=None) for e in episodes if e.env_index == 1][:4] == [
        Episode(1, None, 1, 1, True),
        Episode(1, None, 102, 1, False),
        Episode(1, None, 200, 1, True),
        Episode(1, None, 301 + 312 + 320 + 331 + 342, 5, False),
    ][: sum(e.env_index == 1 for e in episodes)]


@pytest.mark.parametrize("name", [name for name in BACKENDS if "NextStep" in name])
def test_rows_spent_on_resetting(make, name):
    envs = make(name)
    _, _, steps = collect(envs, 4)
    # Environment 1 ends at once: steps 0 and 2 are real, 1 and 3 reset.
    assert steps[0].valid is None
    assert [bool(step.valid[1]) for step in steps[1:]] == [False, True, False]
    reset = steps[1]
    assert reset.reward[1] == 0 and not reset.terminated[1] and not reset.truncated[1]
    assert reset.first.tolist() == [False, True, False]
    assert row(reset.obs, 1) == (1, 1, 0)
    # The final observation is shown once more before, as no episode's first.
    assert row(steps[0].obs, 1) == (1, 0, 1) and not steps[0].first[1]


@pytest.mark.parametrize("name", [name for name in BACKENDS if "NextStep" not in name])
def test_no_row_is_lost_elsewhere(make, name):
    streams, _, steps = collect(make(name), 11)
    assert all(step.valid is None for step in steps)
    assert [len(stream) for stream in streams] == [11, 11, 11]


@pytest.mark.parametrize("name", BACKENDS)
def test_arrays_outlive_later_steps(make, name):
    envs = make(name)
    obs = envs.reset()
    seen = [(obs, obs.copy())]
    for _ in range(8):
        step = envs.step(policy(obs))
        obs = step.obs
        seen += [(x, x.copy()) for x in step if isinstance(x, np.ndarray)]
        for array, copy in seen:
            np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", BACKENDS)
def test_types(make, name):
    _, _, steps = collect(make(name), 3)
    for step in steps:
        assert step.reward.dtype == np.float64
        assert {x.dtype for x in (step.terminated, step.truncated, step.first)} == {np.dtype(bool)}
        assert step.obs.dtype == step.next_obs.dtype == np.float32
