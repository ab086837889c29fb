#!/usr/bin/env bash
# gymnasium 1.4.0 with numpy 2.4.6, Python 3.11
# Date: 2026-11-30
#
# A user would expect: NumPy's booleans are flags of an episode's end. A comparison of
# NumPy numbers gives one, make() and its passive checker take them, and training works.
#
# Behaviour: check_env() compares the flag of the first step by identity with Python's
# False. Where it is NumPy's, it says that the environment truncates after one step,
# which none of them does, and leaves the checks that follow out.
#
# Seen:
#   Python's flags: nothing
#   NumPy's flags: AssertionError: Environment truncates after 1 step, something has gone very wrong.
#   NumPy's flags, made with the passive checker: 4 steps, no complaint
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

warnings.simplefilter("ignore")


class Walk(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, flag):
        self.flag = flag

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = np.zeros(1, np.float32), np.int64(0)
        return self.place.copy(), {}

    def step(self, action):
        self.place += 2 * action - 1
        self.steps += 1
        far, late = np.abs(self.place[0]) >= 4, self.steps >= 100
        return self.place.copy(), 0.0, self.flag(far), self.flag(late), {}


def said(flag):
    try:
        check_env(Walk(flag), skip_render_check=True)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


python, numpy = said(bool), said(np.bool_)
print("Python's flags:", python)
print("NumPy's flags:", numpy)

gym.register("Walk-v0", lambda: Walk(np.bool_))
env = gym.make("Walk-v0")
env.reset(seed=0)
with warnings.catch_warnings(record=True) as complaints:
    warnings.simplefilter("always")
    ends = [bool(any(env.step(1)[2:4])) for _ in range(4)]
print(f"NumPy's flags, made with the passive checker: {len(ends)} steps,",
      "a complaint" if complaints else "no complaint")

assert python == "nothing"
assert numpy == "AssertionError: Environment truncates after 1 step, something has gone very wrong."
assert ends == [False, False, False, True] and not complaints
PYTHON
