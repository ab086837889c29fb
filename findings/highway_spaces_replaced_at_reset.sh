#!/usr/bin/env bash
# highway-env 1.12.1 with gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: after action_space.seed(7) and reset(seed=0) the sampled
# actions are the same in every run; an environment's spaces are fixed objects.
#
# Behaviour: every reset() makes a new action space and a new observation space.
# The new action space is unseeded, so the seed is lost and random actions differ
# although space and environment were both seeded; a reference to the space taken
# before reset() is no longer the environment's.
#
# Seen (the last two lists differ from run to run):
#   same action space after reset: False, same observation space: False
#   seeded, no reset in between: [4, 3, 3, 4, 2, 3, 4, 1, 0, 1] twice
#   seeded, then reset(seed=0):  [4, 4, 4, 0, 4, 0, 4, 1, 0, 0]
#   seeded, then reset(seed=0):  [3, 2, 1, 4, 0, 2, 1, 0, 4, 2]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highway-env==1.12.1 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import highway_env

gym.register_envs(highway_env)
env = gym.make("highway-fast-v0")


def sample(length, reset):
    env.action_space.seed(7)
    if reset:
        env.reset(seed=0)
    return [int(env.action_space.sample()) for _ in range(length)]


env.reset(seed=0)
action_space, observation_space = env.action_space, env.observation_space
env.reset(seed=0)
same = env.action_space is action_space, env.observation_space is observation_space
print(f"same action space after reset: {same[0]}, same observation space: {same[1]}")
held = [sample(40, reset=False) for _ in range(2)]
lost = [sample(40, reset=True) for _ in range(2)]
print("seeded, no reset in between:", held[0][:10], "twice" if held[0] == held[1] else held[1][:10])
for actions in lost:
    print("seeded, then reset(seed=0): ", actions[:10])

assert same == (False, False)
assert held[0] == held[1]
assert lost[0] != lost[1]  # equal by chance once in 5**40
PYTHON
