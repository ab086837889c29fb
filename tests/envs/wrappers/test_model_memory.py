"""A model that sums up its observations: its memory is a part of them, and 0 when an episode begins."""

import numpy as np
import pytest

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.make import EnvSpec
from palaestra.envs.wrappers.model_memory import MEMORY, ShowModelMemory

from ..reset_modes import NAMES, backend_of
from .test_previous import Count, resumes_exactly


class Summing:
    """Its memory is the sum of the steps, and of the actions."""

    state_size = 2

    def update(self, obs, action, state):
        return state + np.stack([obs[:, 0], action], 1).astype(np.float32)


def summing(seen, done):
    return Summing()


@pytest.mark.parametrize("name", NAMES)
def test_its_memory_is_a_part_of_observations_and_0_at_an_episodes_start(name):
    envs = ShowModelMemory(BackendEnvs(backend_of(name, [lambda i=i: Count(i) for i in range(3)])), Summing())
    obs, generator = envs.reset(), np.random.default_rng(0)
    done, ends = np.zeros(3), 0
    for _ in range(60):
        action = generator.integers(1, 4, 3)
        step = envs.step(action)
        for i in range(3):
            time = int(obs["obs"][i, 0])
            assert obs[MEMORY][i].tolist() == [time * (time - 1) / 2, done[i]]
            if step.valid is None or step.valid[i]:
                done[i] += action[i]
                assert step.next_obs[MEMORY][i].tolist() == [time * (time + 1) / 2, done[i]]
            if step.first[i]:
                done[i], ends = 0, ends + 1
        obs = step.obs
    assert ends > 30


@pytest.mark.parametrize("backend", ["sync", "vector"])
def test_it_resumes_exactly(backend):
    spec = EnvSpec("palaestra/CartPoleNoVel-v0", 3, backend=backend, memory_model=summing, show_previous=True)
    assert resumes_exactly(spec) == {"obs", MEMORY, "previous_action", "previous_reward"}
