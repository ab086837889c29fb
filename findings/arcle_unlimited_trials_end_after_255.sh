#!/usr/bin/env bash
# arcle 0.2.6 with gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-12-01
#
# A user would expect: with max_trial=-1, the default, which the package's notes call
# the unlimited trial mode, wrong submissions never end an episode, and the observation
# "trials_remain" stays at -1, its only value in the observation space.
#
# Behaviour: every submission subtracts one from an int8 that begins at -1. It leaves
# its space with the first one, wraps from -128 to 127 with the 128th, and is 0 after
# the 255th, which ends the episode as a termination with a reward of 0. An agent
# that submits at one step in 35, as random actions do, is cut off after some 9,000.
#
# Seen:
#   space of trials_remain: -1 to -1
#   submission 1: -2
#   submission 127: -128
#   submission 128: 127
#   submission 254: 1
#   submission 255: 0, terminated, reward 0
#   space of trials_remain: -1 to 3
#   the same with max_trial=3: terminated at submission 3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet arcle==0.2.6 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import arcle  # registers the environments
import gymnasium as gym
import numpy as np

SUBMIT = {"selection": np.zeros((30, 30), np.int8), "operation": 34}


def submissions(**options):
    """Submit the unsolved grid of one problem until the episode ends; yields what is seen of it."""
    env = gym.make("ARCLE/O2ARCv2Env-v0", **options)
    space = env.observation_space["trials_remain"]
    print("space of trials_remain:", space.low[0], "to", space.high[0])
    env.reset(seed=0, options={"prob_index": 0, "subprob_index": 0})
    for count in range(1, 1000):
        obs, reward, terminated, truncated, _ = env.step(SUBMIT)
        yield count, int(obs["trials_remain"][0]), float(reward), terminated, truncated
        if terminated or truncated:
            return


seen = list(submissions())
for count, remaining, *_ in seen:
    if count in (1, 127, 128, 254):
        print(f"submission {count}: {remaining}")
print(f"submission {seen[-1][0]}: {seen[-1][1]}, terminated, reward {seen[-1][2]:g}")
assert seen[0][1] == -2 and seen[126][1] == -128 and seen[127][1] == 127
assert seen[-1] == (255, 0, 0.0, True, False)

limited = list(submissions(max_trial=3))
print("the same with max_trial=3: terminated at submission", limited[-1][0])
assert limited[-1][0] == 3 and limited[-1][3]
PYTHON
