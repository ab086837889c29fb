#!/usr/bin/env bash
# vizdoom 1.3.2 with gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: an episode that runs into its time limit is truncated and not
# terminated (the option treat_episode_timeout_as_truncation is on by default), and
# its last observation is what the player sees, since the value of that state is to
# be bootstrapped.
#
# Behaviour: the time limit sets both flags, so "1 - terminated" drops the
# bootstrapped value all the same; and the last observation is zeros in every part
# (screen, ammunition), so a bootstrapped value would be that of a black picture.
#
# Seen:
#   after 300 steps: terminated True, truncated True
#   step before: screen up to 255, gamevariables [50.]
#   last step:   screen up to 0, gamevariables [0.]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet vizdoom==1.3.2 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
from vizdoom import gymnasium_wrapper

env = gym.make("VizdoomBasic-v1")
observation, _ = env.reset(seed=0)
for step in range(1, 1001):
    previous = observation
    observation, _, terminated, truncated, _ = env.step(0)
    if terminated or truncated:
        break
env.close()
print(f"after {step} steps: terminated {terminated}, truncated {truncated}")
print("step before: screen up to", previous["screen"].max(), "gamevariables", previous["gamevariables"])
print("last step:   screen up to", observation["screen"].max(), "gamevariables", observation["gamevariables"])

assert terminated and truncated
assert previous["screen"].max() > 0 and previous["gamevariables"].max() > 0
assert observation["screen"].max() == 0 and observation["gamevariables"].max() == 0
PYTHON
