"""An environment with nested spaces, in a file of its own: worker processes import it, and nothing else with it."""

import gymnasium
import numpy as np
from gymnasium import spaces

CHOICES = {"kind": spaces.Discrete(3, start=5), "deep": spaces.Tuple([spaces.MultiDiscrete([[2, 3]])])}
WHERE = {"where": spaces.Box(-1, 1, (2,), np.float32)}


class Nested(gymnasium.Env):
    """Fails unless an action is one of its space; what it shows depends on all actions before."""

    def __init__(self, choices: bool = False):
        # By keywords: in this order.
        self.action_space = spaces.Dict(**({} if choices else WHERE), **CHOICES)
        self.observation_space = spaces.Dict(
            zoom=spaces.Box(-np.inf, np.inf, (2, 2), np.float32), angle=spaces.Box(-1, 1, (1,), np.float32)
        )

    def _obs(self):
        return {"zoom": np.full((2, 2), self.x, np.float32), "angle": np.float32([np.sin(self.x)])}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.x = 0, self.np_random.uniform()
        return self._obs(), {}

    def step(self, action):
        assert action in self.action_space, action
        self.t += 1
        self.x = 0.9 * self.x + 0.1 * action["kind"] + action["deep"][0].sum() + sum(action.get("where", [0]))
        return self._obs(), float(self.x), self.t >= 13, False, {}
