#!/usr/bin/env bash
# PyFlyt 0.29.0 with gymnasium 1.4.0, numpy 1.26.4, Python 3.11
# Date: 2026-11-28
#
# A user would expect: 10 seconds at 40 Hz (the defaults of QuadX-Hover-v4) are 400
# steps of equal length.
#
# Behaviour: an episode that runs to the time limit has 402 steps, and the last one
# is a third of a step. As the reward adds up over the parts of a step, the
# truncated step has less than a third of the reward of the step before, in the
# same state.
#
# Seen:
#   limit 400 steps, ended after 402, truncated True
#   physics steps of the last three: [6, 6, 2]
#   rewards of the last three: [2.396, 2.397, 0.732]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet PyFlyt==0.29.0 gymnasium==1.4.0 numpy==1.26.4
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
import PyFlyt.gym_envs

env = gym.make("PyFlyt/QuadX-Hover-v4")
env.reset(seed=0)
aviary = env.unwrapped.env
rewards, lengths = [], []
for _ in range(1000):
    velocity, position = aviary.state(0)[2][2], aviary.state(0)[3][2]
    thrust = np.clip(0.35 + 0.3 * (1 - position) - 0.2 * velocity, 0, 0.8)
    before = aviary.physics_steps
    _, reward, terminated, truncated, _ = env.step(np.array([0, 0, 0, thrust]))
    lengths.append(aviary.physics_steps - before)
    rewards.append(float(reward))
    if terminated or truncated:
        break
limit = env.unwrapped.max_steps
print(f"limit {limit} steps, ended after {len(rewards)}, truncated {truncated}")
print("physics steps of the last three:", lengths[-3:])
print("rewards of the last three:", [round(reward, 3) for reward in rewards[-3:]])

assert truncated and not terminated
assert limit == 400 and len(rewards) == limit + 2
assert lengths[-1] * 3 == lengths[-2] == lengths[-3]
assert rewards[-1] < 0.5 * rewards[-2]
PYTHON
