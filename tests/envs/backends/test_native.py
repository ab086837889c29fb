"""Vector environments with wrappers that change what they are given (gymnasium 1.4.0; see findings/)."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TransformAction
from gymnasium.wrappers.vector import RecordEpisodeStatistics, VectorizeTransformAction

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.native import VectorBackend


class Steps(gymnasium.Env):
    """Pays what it is given, for so many steps."""

    observation_space = spaces.Box(0, 100, (1,), np.float32)

    def __init__(self, length, bound=1.0):
        self.length, self.action_space = length, spaces.Box(-bound, bound, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        obs = np.full(1, self.steps, np.float32)
        return obs, float(action[0]), self.steps == self.length, False, {}


@pytest.mark.parametrize("bound", [1.0, np.inf])
def test_what_a_wrapper_writes_into_the_actions_does_not_reach_the_agent(bound):
    """`VectorizeTransformAction` writes into the array that it is given."""
    space = spaces.Box(-bound, bound, (1,), np.float32)
    vector = VectorizeTransformAction(
        SyncVectorEnv([lambda: Steps(9, bound)] * 2),
        TransformAction,
        func=lambda a: a / 2,
        action_space=space,
    )
    envs = BackendEnvs(VectorBackend(vector, 0))
    envs.reset()
    action = np.full((2, 1), 0.5, np.float32)
    rewards = [envs.step(action).reward.tolist() for _ in range(3)]
    assert rewards == [[0.25, 0.25]] * 3 and action.tolist() == [[0.5], [0.5]]


def test_episodes_are_counted_right_where_a_wrapper_loses_the_mask_of_resets():
    """`RecordEpisodeStatistics` counts all copies anew with each partial reset; ours are counted by us."""
    vector = SyncVectorEnv([lambda: Steps(3), lambda: Steps(10)], autoreset_mode=AutoresetMode.DISABLED)
    envs = BackendEnvs(VectorBackend(RecordEpisodeStatistics(vector), 0))
    envs.reset()
    episodes = [each for _ in range(24) for each in envs.step(np.ones((2, 1), np.float32)).episodes]
    found = [[(e.episode_return, e.length) for e in episodes if e.env_index == copy] for copy in (0, 1)]
    assert found == [[(3.0, 3)] * 8, [(10.0, 10)] * 2]
