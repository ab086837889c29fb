#!/usr/bin/env bash
# gymnasium 1.4.0 with numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: MaxAndSkipObservation(env, skip=4) returns the maximum of the
# last two frames that were played, at the end of an episode as well.
#
# Behaviour: the third and the fourth of the skipped frames are kept in a buffer. If
# an episode ends at the first or second one, the buffer still holds the frames of
# the step before, or of the episode before, and their maximum is returned as the
# last observation: the one from which a truncated episode is bootstrapped.
#
# Seen (the observation is 1000 times the episode's number plus its step):
#   episode of 5 steps: last frame played 1005, returned 1004
#   episode of 8 steps: last frame played 2008, returned 2008
#   episode of 1 steps: last frame played 3001, returned 2008
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import MaxAndSkipObservation


class Counter(gym.Env):
    observation_space = Box(0, 10_000, (1,), np.float32)
    action_space = Discrete(2)
    episode = 0

    def frame(self):
        return np.array([1000 * self.episode + self.steps], np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.length = options["length"]
        self.episode += 1
        self.steps = 0
        return self.frame(), {}

    def step(self, action):
        self.steps += 1
        return self.frame(), 1.0, False, self.steps == self.length, {}


env = MaxAndSkipObservation(Counter(), skip=4)
results = []
for length in (5, 8, 1):
    env.reset(options={"length": length})
    truncated = False
    for _ in range(4):
        observation, _, _, truncated, _ = env.step(0)
        if truncated:
            break
    results.append((int(env.unwrapped.frame()[0]), int(observation[0])))
    print(f"episode of {length} steps: last frame played {results[-1][0]}, returned {results[-1][1]}")

assert results == [(1005, 1004), (2008, 2008), (3001, 2008)]
PYTHON
