#!/usr/bin/env bash
# vizdoom 1.3.2 with gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: a Box whose is_bounded() is True has bounds that mean
# something; one without them has infinity (Gymnasium's sign for "unbounded").
#
# Behaviour: "gamevariables" (health, ammunition) is bounded by plus and minus the
# largest float32. is_bounded() is True, high - low overflows to infinity in the
# Box's own dtype, sample() draws ammunition of the order of 1e38, and
# RescaleObservation, which takes the bounds at their word, turns 0 and 50 rounds
# into one number.
#
# Seen:
#   Box(-3.4028235e+38, 3.4028235e+38, (1,), float32) bounded: True
#   high - low: [inf]
#   observation [50.], rescaled to [0, 1]: [0.49999997]
#   observation [0.], rescaled to [0, 1]:  [0.49999997]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet vizdoom==1.3.2 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.wrappers import RescaleObservation, TransformObservation
from vizdoom import gymnasium_wrapper

env = gym.make("VizdoomBasic-v1")
space = env.observation_space["gamevariables"]
bounded = space.is_bounded()
width = space.high - space.low
print(space, "bounded:", bounded)
print("high - low:", width)

variables = TransformObservation(env, lambda observation: observation["gamevariables"], space)
rescaled = RescaleObservation(variables, np.float32(0), np.float32(1))
value = variables.reset(seed=0)[0]
full, none = rescaled.observation(value), rescaled.observation(np.zeros_like(value))
env.close()
print(f"observation {value}, rescaled to [0, 1]: {full}")
print(f"observation [0.], rescaled to [0, 1]:  {none}")

assert bounded and np.all(np.isinf(width))
assert value.item() == 50 and np.array_equal(full, none)
PYTHON
