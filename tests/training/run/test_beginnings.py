"""A run whose episodes cannot be reproduced says so when it starts."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.training.run.start import start_run
from palaestra.training.settings.config import run_config


class Curriculum(gymnasium.Env):
    """Gets harder with every episode that this object has played, if `harder` says so."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = spaces.Box(-1e6, 1e6, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, harder=True):
        self.harder, self.level = harder, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level += self.harder
        self.time = 0
        return np.array([self.level, 0], np.float32), {}

    def step(self, action):
        self.time += 1
        return np.array([self.level, self.time], np.float32), float(action), False, self.time >= 5, {}


@pytest.mark.parametrize("harder", [True, False])
def test_a_run_says_that_its_episodes_depend_on_those_before(harder, tmp_path, capsys):
    gymnasium.register("Curriculum-v0", Curriculum)
    values = {"agent": "ppo", "env": "Curriculum-v0", "env_kwargs": {"harder": harder}, "steps": 256}
    start_run(run_config(values | {"num_envs": 2, "track": "none", "evaluate_episodes": 1}), tmp_path / "run")
    said = "note: the same seeds begin other episodes in Curriculum-v0: the run cannot be reproduced"
    assert (said in capsys.readouterr().err) == harder
    del gymnasium.registry["Curriculum-v0"]
