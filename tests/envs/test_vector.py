import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.actions import ActionError, action_clipper
from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.action_log import ActionLog
from palaestra.envs.backends.native import VectorBackend
from palaestra.envs.backends.sync import SyncBackend
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.seeds import episode_seed
from palaestra.envs.wrappers.frame_stack import FrameStack
from palaestra.envs.wrappers.previous import ShowPrevious


def test_episode_seeds_are_fixed_forever():
    # By `printf 0/0/0 | b2sum -l 32`, little-endian, halved. Every older checkpoint depends on them.
    assert episode_seed(0, 0, 0) == 1159696137
    assert episode_seed(7, 3, 1000) == 1113927290


def test_episode_seeds_differ():
    seeds = {episode_seed(run, i, k) for run in range(10) for i in range(10) for k in range(100)}
    # 10,000 draws from 2^31 collide about 0.02 times.
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_an_episode_can_be_found_again_by_its_seed():
    envs = make_envs(EnvSpec("Acrobot-v1", 2, seed=5, kwargs={"max_episode_steps": 7}))
    firsts = [envs.reset()]
    episodes = []
    for _ in range(14):
        step = envs.step(np.array([0, 2]))
        episodes += step.episodes
        if step.first.any():
            firsts.append(step.obs)
    assert [(e.env_index, e.length, e.terminated) for e in episodes] == [(0, 7, False), (1, 7, False)] * 2
    assert [e.seed for e in episodes] == [episode_seed(5, i, k) for k in (0, 1) for i in (0, 1)]
    single = gymnasium.make("Acrobot-v1")
    for episode in episodes:
        obs, _ = single.reset(seed=episode.seed)
        np.testing.assert_array_equal(obs, firsts[episodes.index(episode) // 2][episode.env_index])


@pytest.mark.parametrize("backend", ["sync", "vector"])
def test_reset_begins_the_same_run_again(backend):
    envs = make_envs(EnvSpec("CartPole-v1", 3, seed=1, backend=backend))
    runs = []
    for _ in range(2):
        obs = [envs.reset()] + [envs.step(np.array([0, 1, t % 2])).obs for t in range(40)]
        runs.append(np.stack(obs))
    np.testing.assert_array_equal(*runs)
    other = make_envs(EnvSpec("CartPole-v1", 3, seed=2, backend=backend))
    assert not np.array_equal(other.reset(), runs[0][0])


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_running_episodes_can_be_given_up_for_the_next_ones(backend):
    envs = make_envs(EnvSpec("CartPole-v1", 3, seed=1, backend=backend, workers=2))
    try:
        envs.reset()
        for _ in range(3):
            envs.step(np.array([1, 1, 0]))
        shown, after = envs.begin_next(), envs.step(np.array([1, 1, 1])).obs
        single = gymnasium.make("CartPole-v1")
        for i in range(3):
            np.testing.assert_array_equal(single.reset(seed=episode_seed(1, i, 1))[0], shown[i])
            np.testing.assert_array_equal(single.step(1)[0], after[i])
    finally:
        envs.close()


def test_the_native_cartpole_agrees_with_the_single_one():
    vector = make_envs(EnvSpec("CartPole-v1", 4, backend="vector", kwargs={"max_episode_steps": 30}))
    single = gymnasium.make("CartPole-v1", max_episode_steps=30)
    rng = np.random.default_rng(0)
    obs, first = vector.reset(), np.ones(4, bool)
    compared = ends = 0
    for _ in range(200):
        action = rng.integers(0, 2, 4)
        # Environment 0 balances a while, so that it is truncated; the others fall.
        action[0] = obs[0, 2] + obs[0, 3] > 0
        states = vector._backend.env.state.T.copy()
        step = vector.step(action)
        for i in range(4):
            if step.valid is None or step.valid[i]:
                single.reset()
                single.unwrapped.state = states[i]
                next_obs, reward, terminated, _, _ = single.step(int(action[i]))
                np.testing.assert_allclose(step.next_obs[i], next_obs, rtol=1e-6)
                assert (step.reward[i], step.terminated[i]) == (reward, terminated)
                compared += 1
        ends += len(step.episodes)
        assert all(e.episode_return == e.length for e in step.episodes)
        assert all(e.length == 30 for e in step.episodes if not e.terminated)
        obs, first = step.obs, step.first
    assert compared > 700 and ends > 20 and first.dtype == bool


class Recorder(gymnasium.Env):
    """Keeps the actions it is given, and changes them."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, action_space, fails_at=None):
        self.action_space, self.fails_at, self.actions = action_space, fails_at, []

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.actions.append(np.copy(action))
        if isinstance(action, np.ndarray):
            action[...] = 0
        if self.fails_at == len(self.actions):
            raise RuntimeError("the engine exploded")
        return np.zeros(1, np.float32), 1, False, False, {"seen": len(self.actions)}


def test_box_actions_are_clipped_for_the_environment_only():
    low, high = np.array([-1, 0], np.float32), np.array([1, np.inf], np.float32)
    inner = [Recorder(spaces.Box(low, high)) for _ in range(2)]
    envs = BackendEnvs(SyncBackend(inner.__getitem__, 2, seed=0))
    envs.reset()
    action = np.array([[-3.0, -3.0], [0.5, 7.0]])
    envs.step(action)
    np.testing.assert_array_equal(inner[0].actions[0], np.array([-1, 0], np.float32))
    np.testing.assert_array_equal(inner[1].actions[0], np.array([0.5, 7], np.float32))
    assert inner[0].actions[0].dtype == np.float32
    np.testing.assert_array_equal(action, [[-3.0, -3.0], [0.5, 7.0]])


@pytest.mark.parametrize(
    "space", [spaces.MultiDiscrete([3, 4]), spaces.MultiBinary(2), spaces.Box(-9, 9, (2,))]
)
def test_environments_cannot_change_what_the_agent_keeps(space):
    envs = BackendEnvs(SyncBackend(lambda i: Recorder(space), 1, seed=0))
    envs.reset()
    action = np.ones((1, 2), space.dtype)
    envs.step(action)
    assert (action == 1).all()


def test_nested_actions():
    space = spaces.Dict({"turn": spaces.Discrete(3), "push": spaces.Tuple([spaces.Box(-1, 1, (2,))])})
    clipped = action_clipper(space, 2)({"turn": [2, 1], "push": (np.array([[5, 0], [0, -5.0]]),)})
    assert clipped["turn"].tolist() == [2, 1] and clipped["turn"].dtype == np.int64
    assert clipped["push"][0].tolist() == [[1, 0], [0, -1]]

    class Nested(Recorder):
        def step(self, action):
            self.actions.append(action)
            return np.zeros(1, np.float32), 0.0, False, False, {}

    inner = [Nested(space) for _ in range(2)]
    envs = BackendEnvs(SyncBackend(inner.__getitem__, 2, seed=0))
    envs.reset()
    envs.step({"turn": [2, 1], "push": (np.array([[5, 0], [0, -5.0]]),)})
    assert inner[1].actions[0]["turn"] == 1
    assert inner[1].actions[0]["push"][0].tolist() == [0, -1]


def test_infos_of_single_environments():
    envs = BackendEnvs(SyncBackend(lambda i: Recorder(spaces.Discrete(2)), 2, seed=0))
    envs.reset()
    assert envs.step([0, 1]).info == {"infos": [{"seen": 1}, {"seen": 1}]}


def test_action_log_keeps_the_running_episodes_and_little_else():
    log = ActionLog(spaces.Discrete(1000), 2, capacity=4)
    episodes = [[], []]
    for t in range(100):
        log.add(np.array([t, 500 + t]))
        for i in range(2):
            episodes[i].append(500 * i + t)
        # Environment 0 begins anew every 3 steps, environment 1 every 7.
        done = np.array([t % 3 == 2, t % 7 == 6])
        log.forget(done)
        episodes = [[] if over else e for over, e in zip(done, episodes, strict=True)]
        assert [log.episode(i).tolist() for i in range(2)] == episodes
    for t in range(100):
        log.add(np.array([t, t]))
    assert log.episode(0).tolist()[-100:] == list(range(100))


def test_a_long_episode_costs_its_own_actions_only():
    """Copy 2 of 64 never ends, the others do every 8 steps: 1,008 actions of 8 bytes, and the last 16 rows of all."""
    log = ActionLog(spaces.Discrete(4), 64, capacity=16)
    others = np.arange(64) != 2
    for t in range(1016):
        log.add(np.full(64, t))
        log.forget(others if t % 8 == 7 else np.zeros(64, bool))
    assert log.episode(2).tolist() == list(range(1016)) and len(log.episode(3)) == 0
    assert log.num_bytes == 1008 * 8 + 16 * 64 * 8
    assert sum(piece.nbytes for pieces in log.pieces for piece in pieces) == 1008 * 8


def test_an_episode_without_end_is_given_up_with_a_warning():
    """24 rows of two copies are 384 bytes: beyond 300 the longest episode goes, and the other stays exact."""
    log = ActionLog(spaces.Discrete(4), 2, capacity=4, most_bytes=300)
    with pytest.warns(
        RuntimeWarning, match="environment 0 has not ended its episode within 24 steps"
    ) as caught:
        for t in range(100):
            log.add(np.array([t, t]))
            log.forget(np.array([False, t == 3]))
            assert log.num_bytes <= 300 + 64
            if t > 30:
                log.forget(np.array([False, True]))
    assert len(caught) == 1 and log.state_dict() is None and log.given_up.any()
    log.forget(np.array([True, False]))
    assert not log.given_up.any() and log.state_dict()["lengths"].tolist() == [0, 0]


def test_action_log_restores_episodes_of_different_length():
    log = ActionLog(spaces.Box(-1, 1, (2,)), 3, capacity=2)
    for t in range(9):
        log.add(np.full((3, 2), t / 10) * [[1], [-1], [0.5]])
        log.forget(np.array([t == 3, t == 8, False]))
    state = log.state_dict()
    assert state["lengths"].tolist() == [5, 0, 9]
    assert state["actions"][0].shape == (14, 2)
    other = ActionLog(spaces.Box(-1, 1, (2,)), 3, capacity=2)
    other.load_state_dict(state)
    for i in range(3):
        np.testing.assert_array_equal(other.episode(i), log.episode(i))
    for each in (log, other):
        each.add(np.ones((3, 2)))
        each.forget(np.array([False, False, True]))
    for i in range(3):
        np.testing.assert_array_equal(other.episode(i), log.episode(i))


def test_clipped_rewards_are_for_agents_only(register):
    class Rewards(gymnasium.Env):
        observation_space, action_space = spaces.Discrete(4), spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            self.time = 0
            return 0, {}

        def step(self, action):
            self.time += 1
            return self.time, (7.0, -0.5, 0.0)[self.time - 1], self.time == 3, False, {}

    register("Rewards-v0", Rewards)
    envs = make_envs(EnvSpec("Rewards-v0", 2, clip_reward=True))
    envs.reset()
    steps = [envs.step(np.zeros(2, np.int64)) for _ in range(3)]
    assert [step.reward.tolist() for step in steps] == [[1, 1], [-1, -1], [0, 0]]
    assert [episode.episode_return for episode in steps[-1].episodes] == [6.5, 6.5]


def test_dict_observations_have_the_order_of_their_space_whatever_a_vector_environment_returns():
    class Unsorted(gymnasium.vector.VectorEnv):
        """Returns keys in an order of its own, and ends every second episode in the same step."""

        num_envs, metadata = 2, {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
        single_observation_space = spaces.Dict(
            a=spaces.Box(-9, 9, (1,), np.float32), b=spaces.Box(-9, 9, (3,), np.float32)
        )
        single_action_space = spaces.Discrete(2)

        def obs(self):
            return {"b": np.full((2, 3), 2, np.float32), "a": np.ones((2, 1), np.float32)}

        def reset(self, *, seed=None, options=None):
            return self.obs(), {}

        def step(self, actions):
            done = np.array([True, False])
            return self.obs(), np.ones(2), done, ~done & done, {"final_obs": self.obs()}

    for stack in (1, 2):
        envs = BackendEnvs(VectorBackend(Unsorted(), 0))
        envs = FrameStack(envs, stack) if stack > 1 else envs
        step = (envs.reset(), envs.step([0, 1]))[1]
        for obs in (envs.reset(), step.obs, step.next_obs):
            assert list(obs) == ["a", "b"]
            assert (obs["a"] == 1).all() and obs["a"].shape[-1] == 1 and (obs["b"] == 2).all()


def test_workers_import_no_torch():
    code = "import sys, palaestra.envs.make, palaestra.envs.backends.worker; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_rewards_are_clipped_last():
    """The previous reward is the whole one."""
    spec = EnvSpec("Pendulum-v1", 2, clip_reward=True, show_previous=True)
    envs = make_envs(spec)
    envs.reset()
    step = envs.step(np.zeros((2, 1)))
    assert set(step.reward.tolist()) <= {-1.0, 0.0} and (np.abs(step.obs["previous_reward"]) != 1).all()


def test_previous_actions_are_those_that_were_executed():
    inner = Recorder(spaces.Box(-1, 1, (2,), np.float32))
    envs = ShowPrevious(BackendEnvs(SyncBackend(lambda i: inner, 1, seed=0)))
    envs.reset()
    # Clipped; and the environment sets its own array to 0 afterwards.
    assert envs.step(np.array([[-3.0, 0.5]])).obs["previous_action"].tolist() == [[-1, 0.5]]


class Numbers(Recorder):
    """Draws the number of its step; copy 1 raises at its fifth."""

    def __init__(self, copy):
        super().__init__(spaces.Discrete(2))
        self.copy = copy

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return super().reset(seed=seed)

    def step(self, action):
        self.steps += 1
        if self.copy == 1 and self.steps == 5:
            raise RuntimeError("broken")
        obs, reward, *_, info = super().step(action)
        return obs, reward, self.steps == 3 + 4 * self.copy, False, info

    def render(self):
        return np.full((2, 2, 3), self.steps, np.uint8)


@pytest.mark.filterwarnings("ignore:environment 1 failed:RuntimeWarning")
def test_the_picture_after_an_end_shows_the_end():
    """The next episode has begun by then; of a copy that was made anew, its beginning."""
    envs = BackendEnvs(SyncBackend(Numbers, 2, seed=0), restart_failed=True, draws=True)
    envs.reset()
    drawn = []
    for _ in range(6):
        envs.step(np.zeros(2, np.int64))
        drawn.append([int(envs.render(i)[0, 0, 0]) for i in range(2)])
    assert drawn == [[1, 1], [2, 2], [3, 3], [1, 4], [2, 0], [3, 1]]
    envs.begin_next()
    assert [int(envs.render(i)[0, 0, 0]) for i in range(2)] == [0, 0]
    envs.close()


def test_gymnasium_does_not_check_again_what_was_checked():
    """The native CartPole has a space that takes everything; what is no action is refused before it comes there."""
    ours, bare = make_envs(EnvSpec("CartPole-v1", 3, backend="vector")), gymnasium.make_vec("CartPole-v1", 3)
    assert bare.action_space.contains(np.zeros(3, np.int64)) and not bare.action_space.contains(np.full(3, 2))
    native = ours._backend.env.action_space
    assert native == bare.action_space and native.contains(np.full(3, 2))
    ours.reset()
    with pytest.raises(ActionError, match="2 in copy 0, which is no action of its space"):
        ours.step(np.full(3, 2))
    ours.close()
    bare.close()
