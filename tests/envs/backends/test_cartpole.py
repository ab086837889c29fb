import statistics
import time

import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from palaestra.envs import make
from palaestra.envs.backends import cartpole
from palaestra.envs.backends.cartpole import FastCartPole, same_as_gymnasium
from palaestra.envs.make import EnvSpec, make_envs


@pytest.mark.parametrize("arguments", [{}, {"max_episode_steps": 20}, {"sutton_barto_reward": True}])
@pytest.mark.parametrize("copies", [1, 8, 50])
def test_every_number_is_that_of_gymnasium(copies, arguments):
    ours, theirs = FastCartPole(copies, **arguments), CartPoleVectorEnv(copies, **arguments)
    assert np.array_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    generator = np.random.default_rng(0)
    lean = np.linspace(0.3, 1, copies)  # copies that fall soon, and others
    ends = 0
    for _ in range(1500):
        action = (generator.random(copies) < lean).astype(np.int64)
        one, other = ours.step(action), theirs.step(action)
        for left, right in zip(one[:4], other[:4], strict=True):
            assert left.dtype == right.dtype and np.array_equal(left, right)
        assert np.array_equal(ours.state, theirs.state) and np.array_equal(ours.steps, theirs.steps)
        ends += int((one[2] | one[3]).sum())
    assert ends > 10 * copies


def test_it_is_taken_where_it_agrees_and_left_where_gymnasium_has_changed(monkeypatch):
    def kind():
        envs = make_envs(EnvSpec("CartPole-v1", num_envs=8))
        try:
            return type(envs._backend.env)
        finally:
            envs.close()

    assert kind() is FastCartPole
    monkeypatch.setattr(make, "same_as_gymnasium", lambda: False)
    assert kind() is CartPoleVectorEnv


def test_another_gymnasium_is_seen(monkeypatch):
    class Heavier(CartPoleVectorEnv):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            self.masspole = 0.1000001

    monkeypatch.setattr(cartpole, "CartPoleVectorEnv", Heavier)
    same_as_gymnasium.cache_clear()
    assert not same_as_gymnasium()
    monkeypatch.undo()
    same_as_gymnasium.cache_clear()
    assert same_as_gymnasium()


@pytest.mark.benchmark
def test_a_step_takes_less_time_than_gymnasiums(monkeypatch):
    """CPU time of a step of 8 copies by `make_envs`, as in docs/decisions.md."""
    envs = {"ours": make_envs(EnvSpec("CartPole-v1"))}
    monkeypatch.setattr(make, "same_as_gymnasium", lambda: False)
    envs["Gymnasium's"] = make_envs(EnvSpec("CartPole-v1"))
    action, times = np.tile([0, 1], 4), {name: [] for name in envs}
    for each in envs.values():
        each.reset()
    for _ in range(15):
        for name, each in envs.items():
            start = time.process_time()
            for _ in range(2000):
                each.step(action)
            times[name].append((time.process_time() - start) / 2000 * 1e6)
    medians = {name: statistics.median(each) for name, each in times.items()}
    print(", ".join(f"{name}: {median:.0f} us" for name, median in medians.items()))
    assert medians["ours"] < medians["Gymnasium's"]
