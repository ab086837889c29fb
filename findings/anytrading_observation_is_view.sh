#!/usr/bin/env bash
# gym-anytrading 2.0.0 with gymnasium 1.4.0, numpy 2.4.6, pandas 3.1.1, Python 3.11
# Date: 2026-11-28
#
# A user would expect: an observation belongs to the agent; changing it in place
# (normalising, adding noise) touches nothing but that array.
#
# Behaviour: reset() and step() return a slice of the environment's own table of
# features. Writing into an observation rewrites the market: the next observation,
# and the same step of every later episode, carry the written values.
#
# Seen:
#   shares memory with the features: True
#   last step's rows in the next observation: 0.0
#   first observation after reset(seed=0) again: sum 0.0, was 6305.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gym-anytrading==2.0.0 gymnasium==1.4.0 numpy==2.4.6 pandas==3.1.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import gym_anytrading
import numpy as np

env = gym.make("stocks-v0")
observation, _ = env.reset(seed=0)
first = observation.copy()
shared = np.shares_memory(observation, env.unwrapped.signal_features)
print("shares memory with the features:", shared)

observation *= 0.0
following = env.step(0)[0]
print("last step's rows in the next observation:", float(np.abs(following[:-1]).sum()))
again, _ = env.reset(seed=0)
print(f"first observation after reset(seed=0) again: sum {again.sum():.1f}, was {first.sum():.1f}")

assert shared
assert np.all(following[:-1] == 0.0)
assert np.all(again == 0.0) and np.abs(first).sum() > 1000
PYTHON
