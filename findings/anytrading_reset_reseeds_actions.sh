#!/usr/bin/env bash
# gym-anytrading 2.0.0 with gymnasium 1.4.0, numpy 2.4.6, pandas 3.1.1, Python 3.11
# Date: 2026-11-28
#
# A user would expect: reset() without a seed leaves the action space's generator
# alone, so that random exploration differs from episode to episode and
# action_space.seed(7) holds.
#
# Behaviour: every reset() seeds the action space with int(uniform(0, seed or 1)),
# which is 0 whenever no seed (or a seed of 1) is given. Each episode's random
# actions are the same ones, and the user's own seed is lost at the first reset.
#
# Seen:
#   episode 1: [1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
#   episode 2: [1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
#   episode 3: [1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
#   seeded 7, then 8, then reset: the same as above: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gym-anytrading==2.0.0 gymnasium==1.4.0 numpy==2.4.6 pandas==3.1.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import gym_anytrading

env = gym.make("stocks-v0")


def episode_actions():
    env.reset()
    return [int(env.action_space.sample()) for _ in range(20)]


episodes = [episode_actions() for _ in range(3)]
for number, actions in enumerate(episodes, 1):
    print(f"episode {number}:", actions)
seeded = []
for seed in (7, 8):
    env.action_space.seed(seed)
    seeded.append(episode_actions())
print("seeded 7, then 8, then reset: the same as above:", seeded == episodes[:2])

assert episodes[0] == episodes[1] == episodes[2]
assert seeded == episodes[:2]
PYTHON
