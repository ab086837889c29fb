"""An environment with any spaces: observations are random and follow from the seed, episodes have 20 steps."""

import gymnasium
import numpy as np

from palaestra.networks.vectors import from_leaves, leaf_spaces
from palaestra.training.export.random_envs import draw


class AnySpaces(gymnasium.Env):
    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def _obs(self):
        leaves = [draw(leaf, 1, self.np_random)[0] for leaf in leaf_spaces(self.observation_space)]
        return from_leaves(self.observation_space, leaves)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._obs(), {}

    def step(self, action):
        assert action in self.action_space, action
        self.steps += 1
        return self._obs(), float(np.float32(self.np_random.normal())), self.steps >= 20, False, {}
