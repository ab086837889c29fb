"""A companion that sums up what it sees: what it remembers is shown, and gone when an episode begins."""

import numpy as np
import pytest

from palaestra.envs.make import EnvSpec
from palaestra.envs.vector import Envs
from palaestra.envs.wrappers.companion import MEMORY, ShowMemory

from ..reset_modes import NAMES, backend_of
from .test_previous import Count, resumes_exactly


class Summing:
    """Remembers the sum of the steps that it saw, and of the actions."""

    state_size = 2

    def remember(self, obs, action, state):
        return state + np.stack([obs[:, 0], action], 1).astype(np.float32)


def summing(seen, done):
    return Summing()


@pytest.mark.parametrize("name", NAMES)
def test_what_it_remembers_is_shown_and_gone_at_an_episodes_start(name):
    envs = Envs(ShowMemory(backend_of(name, [lambda i=i: Count(i) for i in range(3)]), Summing()))
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
    spec = EnvSpec("palaestra/CartPoleNoVel-v0", 3, backend=backend, companion=summing, show_previous=True)
    assert resumes_exactly(spec) == {"obs", MEMORY, "previous_action", "previous_reward"}
