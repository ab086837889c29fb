"""What all tasks share: single and vector environment are the same world, and runs in either can be resumed."""

import gymnasium
import numpy as np
import pytest

from palaestra.envs.backends.native import VectorBackend
from palaestra.envs.checking.check import check_environment
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.tasks.task import TaskVectorEnv, colored

IDS = {
    "palaestra/Recall-v0": {"delay": 3},
    "palaestra/TMaze-v0": {"length": 4},
    "palaestra/RepeatPrevious-v0": {"k": 2, "length": 9},
    "palaestra/Catch-v0": {},
    "palaestra/CatchDistractor-v0": {"height": 6, "width": 5},
    "palaestra/Fork-v0": {"length": 6},
    "palaestra/CartPoleNoVel-v0": {},
    "palaestra/PendulumNoVel-v0": {"max_episode_steps": 15},
    "palaestra/MountainCarContinuousNoVel-v0": {"max_episode_steps": 15},
    "palaestra/CartPolePixels-v0": {"size": 20},
    "palaestra/PendulumPixels-v0": {"size": 20, "max_episode_steps": 15},
}
CONTINUOUS = ("palaestra/Recall-v0", {"delay": 3, "continuous": True})
LARGE = ("palaestra/CatchDistractor-v0", {"height": 5, "width": 4, "pixels": 3})
FLAT = ("palaestra/Catch-v0", {"flat": True, "height": 5})
CASES = [*IDS.items(), CONTINUOUS, FLAT, LARGE]


def every_case(function):
    names = [f"{env_id.partition('/')[2]}{'+' * (at >= len(IDS))}" for at, (env_id, _) in enumerate(CASES)]
    return pytest.mark.parametrize(("env_id", "kwargs"), CASES, ids=names)(function)


def actions(space, steps, num_envs):
    space.seed(0)
    return [np.stack([space.sample() for _ in range(num_envs)]) for _ in range(steps)]


@every_case
def test_a_row_of_the_vector_environment_is_a_single_environment(env_id, kwargs):
    count, steps = 5, 40
    vector = gymnasium.make_vec(env_id, count, vectorization_mode="vector_entry_point", **kwargs)
    singles = [gymnasium.make(env_id, **kwargs) for _ in range(count)]
    assert isinstance(vector, TaskVectorEnv)
    obs, _ = vector.reset(seed=0)
    ends = 0

    def begin(index):
        """Put a single environment where the vector environment is."""
        shown, _ = singles[index].reset(seed=0)
        singles[index].unwrapped.worlds = vector.worlds[index : index + 1].copy()
        assert shown.shape == obs[index].shape and shown.dtype == obs[index].dtype
        return singles[index].unwrapped.task.observe(singles[index].unwrapped.worlds)[0]

    for index in range(count):
        np.testing.assert_array_equal(begin(index), obs[index])
    for action in actions(vector.single_action_space, steps, count):
        obs, reward, terminated, truncated, _ = vector.step(action)
        done = terminated | truncated
        for index, single in enumerate(singles):
            row, *rest, _ = single.step(action[index])
            np.testing.assert_array_equal(row, obs[index])
            assert rest == [reward[index], terminated[index], truncated[index]]
        if done.any():
            ends += 1
            obs, _ = vector.reset(options={"reset_mask": done})
            for index in np.flatnonzero(done):
                np.testing.assert_array_equal(begin(index), obs[index])
    assert ends > 0 or "CartPole" in env_id


@every_case
def test_the_vector_environment_resumes_exactly(env_id, kwargs):
    spec = EnvSpec(env_id, 3, seed=1, kwargs=kwargs, backend="vector")
    original = make_envs(spec)
    assert isinstance(original._backend, VectorBackend) and original.exact_resume
    original.reset()
    plan = actions(original.action_space, 40, 3)
    for action in plan[:20]:
        original.step(action)
    state = original.state_dict()
    # What is saved must not move on with the environment.
    frozen = np.copy(state["backend"]["snapshot"]["attributes"]["worlds"])
    expected = [original.step(action) for action in plan[20:]]
    np.testing.assert_array_equal(state["backend"]["snapshot"]["attributes"]["worlds"], frozen)
    restored = make_envs(spec)
    restored.load_state_dict(state)
    for action, step in zip(plan[20:], expected, strict=True):
        again = restored.step(action)
        for name in ("next_obs", "reward", "terminated", "truncated", "obs", "first"):
            np.testing.assert_array_equal(getattr(again, name), getattr(step, name))
        assert again.episodes == step.episodes


@every_case
def test_nothing_is_wrong_with_them(env_id, kwargs):
    report = check_environment(env_id, kwargs)
    assert (report.errors, report.warnings) == ([], [])


@every_case
def test_a_seed_says_everything(env_id, kwargs):
    one, other = (gymnasium.make(env_id, **kwargs) for _ in range(2))
    worlds = []
    for seed in range(6):
        for env in (one, other):
            env.reset(seed=seed)
        np.testing.assert_array_equal(one.unwrapped.worlds, other.unwrapped.worlds)
        worlds.append(one.unwrapped.worlds.tolist())
    assert any(world != worlds[0] for world in worlds)


def test_many_copies_are_stepped_natively():
    assert make_envs(EnvSpec("palaestra/Recall-v0", 8)).backend == "vector"
    assert make_envs(EnvSpec("palaestra/Recall-v0", 1)).backend == "sync"


@pytest.mark.parametrize("backend", ["sync", "vector"])
def test_wrong_arguments_are_one_line(backend):
    def message(**kwargs):
        with pytest.raises(ValueError) as caught:
            make_envs(EnvSpec("palaestra/Recall-v0", kwargs=kwargs, backend=backend))
        return str(caught.value)

    assert message(delai=3) == (
        "environment 'palaestra/Recall-v0' takes no argument 'delai'; did you mean 'delay'?"
    )
    assert "ValueError: delay must be at least 0, got -1, in task.py:" in message(delay=-1)


def test_time_limits_hold_in_both_backends():
    for backend in ("sync", "vector"):
        envs = make_envs(EnvSpec("palaestra/PendulumNoVel-v0", 2, backend=backend))
        envs.reset()
        steps = [envs.step(np.zeros((2, 1), np.float32)) for _ in range(200)]
        assert [bool(step.truncated.any()) for step in steps] == [False] * 199 + [True]
        assert [episode.length for episode in steps[-1].episodes] == [200, 200]


@pytest.mark.parametrize("backend", ["sync", "vector"])
def test_pictures(backend):
    envs = make_envs(EnvSpec("palaestra/Catch-v0", 2, backend=backend, render_mode="rgb_array"))
    envs.reset()
    picture = envs.render(1)
    assert picture.shape == (260, 130, 3) and picture.dtype == np.uint8
    assert (picture == 255).sum() == 2 * 26 * 26 * 3  # ball and paddle
    with pytest.raises(ValueError, match="has no render mode"):
        make_envs(EnvSpec("palaestra/Recall-v0", backend="sync", render_mode="rgb_array"))


def test_small_pictures_are_enlarged():
    assert colored(np.zeros((2, 100, 50), np.uint8)).shape == (2, 300, 150, 3)
