#!/usr/bin/env bash
# nle 1.3.0 with gymnasium 1.2.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-30
#
# A user would expect: an episode that has used up max_episode_steps is truncated and not
# terminated, as the docstring of step() says, and ends with what the player sees, since
# the value of that state is to be bootstrapped.
#
# Behaviour: it is terminated and not truncated, so that no agent can tell the limit from
# a death and all learn that nothing comes after. The game is left in the same step: the
# last observation has no hit points and no turn, and shows the list of high scores. With
# a limit of Gymnasium's, gymnasium.make(..., max_episode_steps=30), which comes first, it
# is truncated, and the last observation is one of the game.
#
# Seen:
#   its own limit:   30 steps, terminated True, truncated False; hit points 14 before, 0 at the end; turn 0
#   Gymnasium's:     30 steps, terminated False, truncated True; hit points above 0 at the end: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nle==1.3.0 gymnasium==1.2.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import copy

import gymnasium as gym
import nle  # registers its environments
from nle.env.tasks import NetHackScore

HIT_POINTS, TURN = 10, 20  # places in "blstats"


def play(env):
    env.unwrapped.seed(3, 3)
    observation, _ = env.reset()
    for step in range(1, 101):
        before = copy.deepcopy(observation)
        observation, _, terminated, truncated, _ = env.step(3)
        if terminated or truncated:
            return step, terminated, truncated, before["blstats"], observation["blstats"]


own = play(NetHackScore(max_episode_steps=30))
theirs = play(gym.make("NetHackScore-v0", max_episode_steps=30))
print(f"its own limit:   {own[0]} steps, terminated {own[1]}, truncated {own[2]};",
      f"hit points {own[3][HIT_POINTS]} before, {own[4][HIT_POINTS]} at the end; turn {own[4][TURN]}")
print(f"Gymnasium's:     {theirs[0]} steps, terminated {theirs[1]}, truncated {theirs[2]};",
      "hit points above 0 at the end:", bool(theirs[4][HIT_POINTS] > 0))

assert own[:3] == (30, True, False) and own[3][HIT_POINTS] > 0
assert own[4][HIT_POINTS] == 0 and own[4][TURN] == 0
assert theirs[:3] == (30, False, True) and theirs[4][HIT_POINTS] > 0
PYTHON
