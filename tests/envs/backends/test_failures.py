"""Environments that raise, hang, die or return nonsense: what is said, and how the others go on."""

import os
import re
import signal
import subprocess
import sys
import time
import warnings

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.autoreset import MAX_FAILED_IN_A_ROW, BackendEnvs
from palaestra.envs.backends.failure import EnvironmentFailedError, finite_checker
from palaestra.envs.backends.native import VectorBackend
from palaestra.envs.backends.processes import AsyncBackend
from palaestra.envs.backends.sync import SyncBackend
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.seeds import episode_seed
from palaestra.envs.wrappers.frame_stack import FrameStack
from palaestra.training.run.signals import STOPPING

# Worker processes cannot import a test file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def explode(env):
    raise ZeroDivisionError("the pole has no length\nsecond line")


def exit_process(env):
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(env):
    time.sleep(60)


def leave(env):
    sys.exit(3)


def nan_obs(env):
    env.bad_obs = np.array([np.nan, 0], np.float32)


def infinite_obs(env):
    env.bad_obs = np.array([0, -np.inf], np.float32)


def short_obs(env):
    env.bad_obs = np.zeros(1, np.float32)


def nan_reward(env):
    env.bad_reward = float("nan")


def nothing(env):
    pass


class Walk(gymnasium.Env):
    """A random walk of 6 steps; copy 1 does `mishap` in step 4 of its episodes number `bad`."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, index, mishap=nothing, bad=(0,), when=4):
        self.index, self.mishap, self.when = index, mishap, when
        self.seeds = [episode_seed(7, index, k) for k in bad]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time, self.seed = self.np_random.normal(size=2).astype(np.float32), 0, seed
        self.bad_obs = self.bad_reward = None
        self._misbehave()
        return self.place.copy() if self.bad_obs is None else self.bad_obs, {}

    def _misbehave(self):
        if self.index == 1 and self.time == self.when and self.seed in self.seeds:
            self.mishap(self)

    def step(self, action):
        self.time += 1
        self._misbehave()
        self.place += action * self.np_random.normal(size=2).astype(np.float32)
        obs = self.place.copy() if self.bad_obs is None else self.bad_obs
        reward = float(action) if self.bad_reward is None else self.bad_reward
        return obs, reward, self.time == 6, False, {}


@pytest.fixture
def make():
    """Make three copies and close them after the test."""
    made = []

    def make(backend, mishap, restart=False, **kwargs):
        settings = {"seed": 7}
        if backend == "async":
            settings |= {"replace_lost": restart, "workers": 2, "timeout": 1.0 if mishap is sleep else 30}
        kind = {"sync": SyncBackend, "async": AsyncBackend}[backend]
        made.append(
            BackendEnvs(kind(lambda i: Walk(i, mishap, **kwargs), 3, **settings), restart_failed=restart)
        )
        return made[-1]

    yield make
    for envs in made:
        envs.close()


BOTH = [
    (explode, "environment 1 failed: ZeroDivisionError: the pole has no length ({})"),
    (leave, "environment 1 failed: SystemExit: 3 ({})"),
    (nan_obs, "environment 1 returned an observation with NaN or infinity ({})"),
    (infinite_obs, "environment 1 returned an observation with NaN or infinity ({})"),
    (nan_reward, "environment 1 returned the reward nan ({})"),
    (short_obs, "environment 1 returned an observation of shape (1,); its space says (2,) ({})"),
]
PROCESS = [
    (exit_process, "environment 1 took its worker process down (SIGKILL) ({})"),
    (sleep, "environment 1 took more than 1 s ({})"),
]
CASES = [("sync", *case) for case in BOTH] + [("async", *case) for case in BOTH[:3] + BOTH[4:5] + PROCESS]
names = pytest.mark.parametrize(
    ("backend", "mishap", "expected"), CASES, ids=[f"{c[0]} {c[1].__name__}" for c in CASES]
)


@names
def test_a_failure_stops_with_who_when_and_what(make, backend, mishap, expected):
    envs = make(backend, mishap)
    envs.reset()
    for _ in range(3):
        envs.step([0, 2, 1])
    with pytest.raises(EnvironmentFailedError) as caught:
        envs.step([0, 2, 1])
    place = f"episode seed {episode_seed(7, 1, 0)}, step 4, action 2"
    assert str(caught.value) == expected.format(place)


@pytest.mark.parametrize("count", [1, 3], ids=["", "stacked"])
@pytest.mark.parametrize(
    ("backend", "mishap"),
    [("sync", explode), ("sync", nan_obs), ("async", explode), ("async", nan_obs), ("async", exit_process)],
)
def test_after_a_failed_reset_a_run_goes_on_from_an_earlier_state(backend, mishap, count):
    """Episode 1 of copy 1 cannot be begun, in the sixth step; there is a state of before the third."""

    def build(kind, mishap):
        settings = {"workers": 2} if kind is AsyncBackend else {}
        made = kind(lambda i: Walk(i, mishap, bad=(1,), when=0), 3, seed=7, **settings)
        return FrameStack(BackendEnvs(made), count) if count > 1 else BackendEnvs(made)

    alone = build(SyncBackend, nothing)
    expected = [alone.reset()] + [alone.step([0, 2, 1]) for _ in range(9)]
    envs = build({"sync": SyncBackend, "async": AsyncBackend}[backend], mishap)
    envs.reset()
    for t in range(5):
        if t == 2:
            saved = envs.state_dict()
        envs.step([0, 2, 1])
    with pytest.raises(EnvironmentFailedError) as caught:
        envs.step([0, 2, 1])
    assert str(caught.value).endswith(f"(episode seed {episode_seed(7, 1, 1)}, in reset)")
    envs.close()
    repaired = build(SyncBackend, nothing)
    repaired.load_state_dict(saved)
    for step in expected[3:]:
        again = repaired.step([0, 2, 1])
        assert again.episodes == step.episodes
        np.testing.assert_array_equal(again.obs, step.obs)


def test_a_vector_environment_that_raises():
    class Broken(gymnasium.vector.VectorEnv):
        num_envs, metadata = 2, {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
        single_observation_space, single_action_space = Walk.observation_space, Walk.action_space

        def reset(self, *, seed=None, options=None):
            return np.zeros((2, 2), np.float32), {}

        def step(self, actions):
            raise OSError("the power is out")

    envs = BackendEnvs(VectorBackend(Broken(), 0))
    envs.reset()
    said = "the environments failed: OSError: the power is out (vector step 1, actions array([0, 1]))"
    with pytest.raises(EnvironmentFailedError, match=f"^{re.escape(said)}$"):
        envs.step([0, 1])


def test_the_traceback_of_the_environment_is_kept(make):
    for backend in ("sync", "async"):
        envs = make(backend, explode, when=0)
        with pytest.raises(EnvironmentFailedError) as caught:
            envs.reset()
        assert str(caught.value) == (
            "environment 1 failed: ZeroDivisionError: the pole has no length "
            f"(episode seed {episode_seed(7, 1, 0)}, in reset)"
        )
        assert "ZeroDivisionError" in repr(caught.value.__cause__)
    assert "in explode" in str(caught.value.__cause__)


@pytest.mark.filterwarnings("ignore:environment 1 .*; restarted:RuntimeWarning")
@names
def test_a_failed_copy_is_restarted_and_the_others_do_not_notice(make, backend, mishap, expected):
    envs, sound = make(backend, mishap, restart=True), make("sync", nothing)
    np.testing.assert_array_equal(envs.reset(), sound.reset())
    rng = np.random.default_rng(0)
    steps = []
    for t in range(10):
        before = envs.obs
        action = rng.integers(0, 3, 3)
        step, same = envs.step(action), sound.step(action)
        steps.append(step)
        for one, other in zip(step[:6], same[:6], strict=True):
            np.testing.assert_array_equal(one[[0, 2]], other[[0, 2]])
        if t == 3:
            # The step at fault: nothing happened, and the episode is cut off there.
            np.testing.assert_array_equal(step.next_obs[1], before[1])
            assert (step.reward[1], step.terminated[1], step.truncated[1]) == (0, False, True)
            assert step.episodes == []  # it has not come to its end
            assert step.first.tolist() == [False, True, False]
    assert envs.restarts == 1
    # The next episode is the one that follows by its seed.
    assert [e.seed for s in steps for e in s.episodes if e.env_index == 1][-1] == episode_seed(7, 1, 1)
    assert steps[9].episodes[0].length == 6 and steps[9].terminated[1]


def test_a_restart_is_reported(make):
    envs = make("sync", explode, restart=True)
    envs.reset()
    with pytest.warns(
        RuntimeWarning, match=r"^environment 1 failed: ZeroDivisionError.*step 4.*; restarted$"
    ):
        for _ in range(4):
            envs.step([0, 1, 2])


class Whole(gymnasium.vector.VectorEnv):
    """A vector environment of somebody else's, with a mistake."""

    single_observation_space, single_action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)

    def __init__(self, mistake, mode="SAME_STEP"):
        self.num_envs, self.mistake = 3, mistake
        self.metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode[mode]}
        self.resets = 0

    def reset(self, *, seed=None, options=None):
        self.resets += 1
        if self.mistake == "reset" or (self.mistake == "later" and self.resets > 1):
            raise ValueError("out of worlds")
        return np.zeros((3, 3 if self.mistake == "obs" else 2), np.float32), {}

    def step(self, actions):
        reward = np.zeros((3, 1) if self.mistake == "reward" else 3)
        return np.zeros((3, 2), np.float32), reward, np.ones(3, bool), np.zeros(3, bool), {}


@pytest.mark.parametrize(
    ("mistake", "mode", "said"),
    [
        ("reset", "SAME_STEP", "failed: ValueError: out of worlds (in reset)"),
        ("later", "DISABLED", "failed: ValueError: out of worlds (in reset, vector step 1)"),
        ("obs", "SAME_STEP", "returned observations of shape (3, 3), not (3, 2) (in reset)"),
        ("reward", "NEXT_STEP", "returned rewards of shape (3, 1), not (3,) (vector step 1"),
        ("end", "SAME_STEP", "leave no 'final_obs' in their info (vector step 1)"),
    ],
)
def test_a_vector_environment_of_somebody_elses_fails_in_one_line(mistake, mode, said):
    envs = BackendEnvs(VectorBackend(Whole(mistake, mode), 0))
    with pytest.raises(EnvironmentFailedError, match=re.escape(said)) as failure:
        envs.reset()
        envs.step(np.zeros(3, int))
    assert "\n" not in str(failure.value)


@pytest.mark.filterwarnings("ignore:environment 1 .*; restarted:RuntimeWarning")
def test_runs_with_restarts_resume_exactly(make):
    for backend in ("sync", "async"):
        original = make(backend, explode, restart=True, bad=(0, 2))
        original.reset()
        for _ in range(5):
            original.step([1, 2, 0])
        restored = make("sync", explode, restart=True, bad=(0, 2))
        restored.load_state_dict(original.state_dict())
        assert restored.restarts == 1
        for _ in range(12):
            one, other = original.step([1, 2, 0]), restored.step([1, 2, 0])
            assert one.episodes == other.episodes
            np.testing.assert_array_equal(one.obs, other.obs)


@pytest.mark.filterwarnings("ignore:environment 1 .*; restarted:RuntimeWarning")
@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_hopeless_copy_stops_the_run(make, backend):
    envs = make(backend, explode, restart=True, bad=range(100), when=1)
    envs.reset()
    for _ in range(MAX_FAILED_IN_A_ROW):
        envs.step([0, 0, 0])
    with pytest.raises(EnvironmentFailedError, match=r"^environment 1 failed"):
        envs.step([0, 0, 0])
    unborn = make(backend, explode, restart=True, bad=range(100), when=0)
    with pytest.raises(EnvironmentFailedError, match="in reset"):
        unborn.reset()


@pytest.mark.filterwarnings("ignore:environment 1 .*; restarted:RuntimeWarning")
@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_reset_that_fails_once(make, backend):
    envs = make(backend, explode, restart=True, bad=(1,), when=0)
    envs.reset()
    episodes = [e for _ in range(12) for e in envs.step([0, 0, 0]).episodes if e.env_index == 1]
    assert [e.seed for e in episodes] == [episode_seed(7, 1, 0), episode_seed(7, 1, 2)]
    assert envs.restarts == 1


def test_what_goes_wrong_in_making_is_the_same_in_a_worker():
    for backend in ("sync", "async"):
        with pytest.raises(ValueError, match=r"^environment 'CartPole-v1' takes no argument 'size'"):
            make_envs(EnvSpec("CartPole-v1", 2, kwargs={"size": 3}, backend=backend, workers=1))


def test_only_single_environments_can_be_restarted():
    with pytest.raises(
        ValueError, match=r"^on_error 'restart' cannot be had with backend 'vector'; use sync or async$"
    ):
        EnvSpec("CartPole-v1", backend="vector", on_error="restart")
    assert make_envs(EnvSpec("CartPole-v1", 16, on_error="restart")).backend == "sync"


def test_nan_in_nested_observations_is_found():
    obs = {"a": np.zeros((2, 3), np.float32), "b": (np.zeros((2,), np.uint8), np.zeros((2, 1)))}
    check, reward = finite_checker(obs), np.ones(2)
    assert check(obs, reward)
    obs["b"][1][1, 0] = np.inf
    assert not check(obs, reward)
    assert not check({"a": obs["a"], "b": (obs["b"][0], np.zeros((2, 1)))}, np.array([1, np.nan]))
    images = np.zeros((2, 4, 4, 3), np.uint8)
    assert finite_checker(images)(images, reward) and not finite_checker(images)(images, reward * np.nan)


@pytest.mark.filterwarnings("ignore:environment 1 .*; restarted:RuntimeWarning")
def test_a_reset_that_takes_its_process_down_is_skipped(make):
    envs, sound = make("async", exit_process, restart=True, bad=(1,), when=0), make("sync", nothing)
    envs.reset()
    sound.reset()
    seeds = []
    for _ in range(14):
        step, same = envs.step([0, 2, 1]), sound.step([0, 2, 1])
        for one, other in zip(step[:6], same[:6], strict=True):
            np.testing.assert_array_equal(one[[0, 2]], other[[0, 2]])
        seeds += [episode.seed for episode in step.episodes if episode.env_index == 1]
    assert envs.restarts == 1
    # The last reward of episode 0 went down with the process.
    assert seeds == [episode_seed(7, 1, 2)]


@pytest.mark.filterwarnings("ignore:environment 1 .*; restarted:RuntimeWarning")
@pytest.mark.parametrize("stack", [1, 2])
def test_a_step_names_the_copies_that_failed_in_it(make, stack):
    envs = make("sync", explode, restart=True)
    envs = FrameStack(envs, stack) if stack > 1 else envs
    envs.reset()
    before = [envs.step([0, 0, 0]) for _ in range(3)][-1]
    step = envs.step([0, 0, 0])
    assert before.failed == () and step.failed == (1,)
    np.testing.assert_array_equal(step.next_obs[1], before.obs[1])


@pytest.mark.parametrize("value", [np.array([1.5]), np.array([[1.5]]), np.float32(1.5), np.array(1.5)])
def test_a_reward_in_an_array_of_one_is_taken(make, value):
    envs = make("sync", lambda env: setattr(env, "bad_reward", value))
    envs.reset()
    assert [envs.step([0, 0, 0]).reward[1] for _ in range(4)] == [0, 0, 0, 1.5]


def test_a_vector_of_rewards_is_one_line(make):
    envs = make("sync", lambda env: setattr(env, "bad_reward", np.zeros(2)))
    envs.reset()
    said = (
        r"a reward of shape \(2,\); it must be one number: weigh several objectives with the wrapper "
        "mo_gymnasium.wrappers:LinearReward"
    )
    with pytest.raises(EnvironmentFailedError, match=said):
        for _ in range(4):
            envs.step([0, 0, 0])


def test_an_observation_of_one_key_is_checked():
    check, reward = finite_checker({"x": np.zeros((2, 3), np.float32)}), np.ones(2)
    assert check({"x": np.ones((2, 3), np.float32)}, reward)
    assert not check({"x": np.full((2, 3), np.nan, np.float32)}, reward)
    assert finite_checker((np.zeros((2, 3)),))((np.ones((2, 3)),), reward)


def test_environments_that_cannot_be_closed_are_one_warning(recwarn):
    class Stuck(Walk):
        def close(self):
            raise AttributeError("no renderer")

    warnings.simplefilter("default")
    for _ in range(2):
        BackendEnvs(SyncBackend(lambda i: Stuck(i), 3, seed=0)).close()
    (warning,) = recwarn
    assert str(warning.message) == "closing an environment failed: AttributeError: no renderer"


def test_workers_leave_signals_to_the_main_process(make):
    envs = make("async", nothing)
    envs.reset()
    for worker in envs._backend.workers:
        for number in STOPPING:
            worker.process.send_signal(number)
    for _ in range(20):
        envs.step([0, 1, 2])


MAIN = """
import sys, time, gymnasium, numpy as np, cloudpickle
from palaestra.envs.backends.processes import AsyncBackend
cloudpickle.register_pickle_by_value(sys.modules["__main__"])

class Hanging(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(0, 1, (1,)), gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}
    def step(self, action):
        while True:
            pass

backend = AsyncBackend(lambda i: Hanging(), 1, 0, workers=1)
backend.start()
print(backend.workers[0].process.pid, flush=True)
backend.step(np.zeros(1, int))
"""


def test_a_worker_dies_with_its_parent_even_while_its_environment_hangs():
    with subprocess.Popen([sys.executable, "-c", MAIN], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_alive(worker)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    alone = is_alive(worker)
    if alone:
        os.kill(worker, signal.SIGKILL)
    assert not alone


def is_alive(process):
    """Whether a process runs; one that waits for somebody to ask how it ended does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")
