"""Backends that step in C++: EnvPool and the Arcade Learning Environment's own."""

import sys

import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.pools import AleBackend, EnvPoolBackend
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.seeds import episode_seed

BREAKOUT = EnvSpec("ALE/Breakout-v5", 2, seed=3, backend="ale", workers=1)


@pytest.fixture
def make():
    made = []

    def make(spec):
        made.append(make_envs(spec))
        return made[-1]

    yield make
    for envs in made:
        envs.close()


def random_steps(envs, steps, seed=0):
    rng = np.random.default_rng(seed)
    return [envs.step(rng.integers(0, envs.action_space.n, envs.num_envs)) for _ in range(steps)]


class Pool:
    """Stands in for EnvPool: copy i counts to i + 2, terminates, and resets in the step after."""

    def __init__(self, seed):
        self.observation_space, self.action_space = spaces.Box(0, 1e9, (2,), np.float32), spaces.Discrete(2)
        self.seed, self.closed = seed, False

    def reset(self):
        self.time, self.over = np.zeros(3, int), np.zeros(3, bool)
        return self._obs(), {}

    def _obs(self):
        return np.stack([np.full(3, self.seed % 1000), self.time], 1).astype(np.float32)

    def step(self, action):
        self.time = np.where(self.over, 0, self.time + 1)
        reward = np.where(self.over, 0, action).astype(np.float32)
        self.over = self.time == np.arange(3) + 2
        return self._obs(), reward, self.over.copy(), np.zeros(3, bool), {}

    def close(self):
        self.closed = True


def test_a_pool_by_hand():
    made = []
    envs = BackendEnvs(EnvPoolBackend(lambda seed: made.append(Pool(seed)) or made[-1], 3, seed=5))
    assert envs.reset()[:, 1].tolist() == [0, 0, 0]
    steps = [envs.step([1, 1, 0]) for _ in range(4)]
    assert steps[0].valid is None and steps[1].terminated.tolist() == [True, False, False]
    # Copy 0 spends its third row on resetting, copy 1 its fourth.
    assert steps[2].valid.tolist() == [False, True, True] and steps[3].valid.tolist() == [True, False, True]
    assert [(e.env_index, e.length, e.episode_return, e.terminated) for s in steps for e in s.episodes] == [
        (0, 2, 2.0, True),
        (1, 3, 3.0, True),
        (2, 4, 0.0, True),
    ]
    assert steps[0].reward.dtype == np.float64
    # The same run again from the same seed; a resumed one begins episodes that have not been.
    first = envs.obs[0, 0]
    assert made[-1].seed == episode_seed(5, 0, 0) and envs.reset()[0, 0] == first
    envs.load_state_dict(envs.state_dict())
    assert envs.obs[0, 0] == episode_seed(5, 0, 1) % 1000 and envs.first.all()
    assert all(pool.closed for pool in made[:-1])


class DictPool(Pool):
    """Its dicts are not in the order of their space, as those of EnvPool."""

    def __init__(self, seed):
        super().__init__(seed)
        parts = {name: spaces.Box(0, 1e9, (), np.float32) for name in ("seed", "time")}
        self.observation_space = spaces.Dict(parts)

    def _obs(self):
        seed, time = super()._obs().T
        return {"time": time, "seed": seed}


def test_dicts_of_a_pool_come_in_the_order_of_their_space():
    envs = BackendEnvs(EnvPoolBackend(DictPool, 3, seed=5))
    assert list(envs.reset()) == ["seed", "time"]
    step = envs.step([1, 1, 0])
    assert list(step.obs) == ["seed", "time"] and step.obs["time"].tolist() == [1, 1, 1]


def test_envpool_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'palaestra\[envpool\]'$"):
        make_envs(EnvSpec("CartPole-v1", backend="envpool"))


def test_envpool(make):
    pytest.importorskip("envpool")
    envs = make(EnvSpec("CartPole-v1", 4, backend="envpool", workers=1, kwargs={"max_episode_steps": 8}))
    first = envs.reset()
    episodes = [e for step in random_steps(envs, 20) for e in step.episodes]
    assert {(e.length, e.terminated, e.episode_return) for e in episodes} <= {(8, False, 8.0)} | {
        (n, True, float(n)) for n in range(1, 9)
    }
    assert len(episodes) >= 8
    np.testing.assert_array_equal(envs.reset(), first)
    with pytest.raises(
        ValueError, match=r"^environment 'CartPol-v1' is not in EnvPool; did you mean 'CartPole-v1'\?$"
    ):
        make_envs(EnvSpec("CartPol-v1", backend="envpool"))
    with pytest.raises(
        ValueError, match=r"^environment 'CartPole-v1' cannot be made by EnvPool with \{'size': 3\}"
    ):
        make_envs(EnvSpec("CartPole-v1", backend="envpool", kwargs={"size": 3}))


def test_the_dynamics_of_envpools_pendulum_are_gymnasiums(make):
    pytest.importorskip("envpool")
    import gymnasium

    envs = make(EnvSpec("Pendulum-v1", 3, backend="envpool", workers=1))
    obs, single = envs.reset(), gymnasium.make("Pendulum-v1").unwrapped
    single.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = rng.uniform(-2, 2, (3, 1)).astype(np.float32)
        step = envs.step(action)
        for i in range(3):
            single.state = np.array([np.arctan2(obs[i, 1], obs[i, 0]), obs[i, 2]])
            next_obs, reward, *_ = single.step(action[i])
            np.testing.assert_allclose(step.next_obs[i], next_obs, atol=1e-4)
            np.testing.assert_allclose(step.reward[i], reward, atol=1e-4)
        obs = step.obs


def test_every_episode_of_ale_follows_from_its_seed(make):
    pytest.importorskip("ale_py")
    envs = make(BREAKOUT)
    assert isinstance(envs._backend, AleBackend) and envs.observation_space.shape == (4, 84, 84)
    envs.reset()
    steps = random_steps(envs, 260)
    starts = [t for t, step in enumerate(steps) if step.first[0]]
    (episode,) = [e for step in steps for e in step.episodes if e.env_index == 0][:1]
    assert episode.length == starts[0] + 1 and episode.seed == episode_seed(3, 0, 0)
    # Episode 1 of copy 0, by itself.
    alone = make(EnvSpec("ALE/Breakout-v5", 1, backend="ale", workers=1))._backend.env
    obs, _ = alone.reset(seed=np.array([episode_seed(3, 0, 1)]))
    np.testing.assert_array_equal(obs[0], steps[starts[0]].obs[0])
    rng = np.random.default_rng(0)
    actions = [rng.integers(0, 4, 2) for _ in range(260)]
    end = starts[1] if len(starts) > 1 else 260
    for t in range(starts[0] + 1, end):
        obs, reward, *_ = alone.step(actions[t][:1])
        np.testing.assert_array_equal(obs[0], steps[t].next_obs[0])
        assert reward[0] == steps[t].reward[0]


def test_ale_resumes_exactly(make):
    pytest.importorskip("ale_py")
    original = make(BREAKOUT)
    original.reset()
    random_steps(original, 210)
    state, late = original.state_dict(), random_steps(original, 30, seed=1)
    lengths = state["lengths"]
    assert lengths[0] != lengths[1]
    restored = make(BREAKOUT)
    restored.load_state_dict(state)
    for one, other in zip(late, random_steps(restored, 30, seed=1), strict=True):
        np.testing.assert_array_equal(one.obs, other.obs)
        np.testing.assert_array_equal(one.reward, other.reward)
        assert one.episodes == other.episodes


def test_ale_is_for_its_own_ids():
    with pytest.raises(
        ValueError, match=r"^environment 'CartPole-v1' is not one of the ALE/ ids; use backend 'sync'$"
    ):
        make_envs(EnvSpec("CartPole-v1", backend="ale"))


def test_nothing_optional_is_imported_before_it_is_asked_for():
    import subprocess

    code = "import sys, palaestra.envs.make as m; m.make_envs(m.EnvSpec('CartPole-v1')); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"envpool", "ale_py", "minigrid", "minatar", "cv2", "torch"} & set(found.stdout.split())
