#!/usr/bin/env bash
# stable-baselines3 2.9.2 with gymnasium 1.4.0, torch 2.13.0, Python 3.11
# Date: 2026-11-28
#
# A user would expect: an action space Discrete(3, start=5) gets the actions 5, 6
# and 7; if start is not supported, an error at construction.
#
# Behaviour: PPO trains without a word and sends 0, 1 and 2, none of which is in the
# space. DQN sends 5 to 7 while it samples from the space and other numbers when it
# acts greedily, then fails with an index error as it learns from the former.
#
# Seen:
#   space: Discrete(3, start=5) actions of PPO: [0, 1, 2] in the space: []
#   actions of DQN: [1, 5, 6, 7] error: index 7 is out of bounds for dimension 1 with size 3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet stable-baselines3==2.9.2 gymnasium==1.4.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from stable_baselines3 import DQN, PPO


class Recorder(gym.Env):
    observation_space = Box(0, 1, (2,), np.float32)

    def __init__(self):
        self.action_space = Discrete(3, start=5)
        self.actions = set()

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.actions.add(int(action))
        self.steps += 1
        return np.zeros(2, np.float32), 0.0, False, self.steps == 10, {}


env = Recorder()
PPO("MlpPolicy", env, n_steps=64, batch_size=64, seed=0).learn(128)
inside = sorted(action for action in env.actions if env.action_space.contains(action))
print("space:", env.action_space, "actions of PPO:", sorted(env.actions), "in the space:", inside)

other = Recorder()
message = "none"
try:
    DQN("MlpPolicy", other, learning_starts=20, seed=0).learn(60)
except (RuntimeError, IndexError) as error:
    message = str(error)
print("actions of DQN:", sorted(other.actions), "error:", message)

assert env.actions == {0, 1, 2} and inside == []
assert "out of bounds" in message
PYTHON
