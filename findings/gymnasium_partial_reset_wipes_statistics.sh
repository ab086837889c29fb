#!/usr/bin/env bash
# gymnasium 1.4.0 with numpy 2.4.6, Python 3.11
# Date: 2026-12-01
#
# A user would expect: where copies are reset when the user says so (AutoresetMode.DISABLED,
# options={"reset_mask": ...}), RecordEpisodeStatistics for vector environments begins anew
# for the copies that are reset and goes on for the others, as the code of its reset() does
# for a mask; and reset() leaves the options of its caller as they are.
#
# Behaviour: SyncVectorEnv and AsyncVectorEnv take the mask out of the caller's dictionary.
# The wrapper asks them first and then looks for the mask in the same dictionary, which is
# empty by now: each partial reset sets the returns and lengths of all copies to zero. The
# episodes of all but the shortest-lived copies are reported too short and with too small a
# return, with no warning. A dictionary that is used again resets every copy.
#
# Seen (copy 0 ends after 3 steps, copy 1 after 10, each step pays 1; return and length of
# each reported episode in 24 steps):
#   SyncVectorEnv SAME_STEP, copy 0: (3, 3) (3, 3) (3, 3) (3, 3) (3, 3) (3, 3) (3, 3) (3, 3)
#   SyncVectorEnv SAME_STEP, copy 1: (10, 10) (10, 10)
#   SyncVectorEnv DISABLED, copy 0: (3, 3) (3, 3) (3, 3) (2, 2) (3, 3) (3, 3) (1, 1) (3, 3)
#   SyncVectorEnv DISABLED, copy 1: (1, 1) (2, 2)
#   AsyncVectorEnv: the same
#   options after reset(options={"reset_mask": ...}): {}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
cat > partial.py <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics


class Steps(gym.Env):
    observation_space = Box(0, 100, (1,), np.float32)
    action_space = Discrete(2)

    def __init__(self, length):
        self.length = length

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, self.steps, np.float32), 1.0, self.steps == self.length, False, {}


def three():
    return Steps(3)


def ten():
    return Steps(10)


def reported(kind, mode):
    envs = RecordEpisodeStatistics(kind([three, ten], autoreset_mode=mode))
    envs.reset(seed=0)
    episodes = [], []
    for _ in range(24):
        _, _, terminated, truncated, info = envs.step(np.zeros(2, int))
        done = terminated | truncated
        for copy in np.flatnonzero(done):
            episodes[copy].append((int(info["episode"]["r"][copy]), int(info["episode"]["l"][copy])))
        if mode == AutoresetMode.DISABLED and done.any():
            options = {"reset_mask": done}
            envs.reset(options=options)
            assert options == {}
    envs.close()
    for copy, found in enumerate(episodes):
        print(f"{kind.__name__} {mode.name}, copy {copy}:", *found)
    return episodes


if __name__ == "__main__":
    for kind in (SyncVectorEnv, AsyncVectorEnv):
        exact = reported(kind, AutoresetMode.SAME_STEP)
        partial = reported(kind, AutoresetMode.DISABLED)
        assert exact == ([(3, 3)] * 8, [(10, 10)] * 2)
        assert partial[1] == [(1, 1), (2, 2)]
        assert partial[0] == [(3, 3)] * 3 + [(2, 2), (3, 3), (3, 3), (1, 1), (3, 3)]
    print('options after reset(options={"reset_mask": ...}): {}')
PYTHON
"$folder/venv/bin/python" -W ignore partial.py
