"""An environment of which a process can hold one only, as of many emulators."""

import gymnasium
import numpy as np
from gymnasium import spaces


class OnlyOne(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012
    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)
    running = False

    def __init__(self, render_mode=None):
        if OnlyOne.running:
            raise RuntimeError("an emulator runs already")
        OnlyOne.running = True
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.obs(), {}

    def obs(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action):
        self.time += 1
        return self.obs(), 1.0, False, self.time == 10, {}

    def render(self):
        return np.full((32, 32, 3), self.time, np.uint8)

    def close(self):
        OnlyOne.running = False
