#!/usr/bin/env bash
# ap_gym 0.7.1 with gymnasium 1.4.0, numpy 2.4.6, aiohttp 3.14.5, pillow 13.0.0 (it
# imports both, and pip does not install them with it), Python 3.11
# Date: 2026-11-30
#
# A user would expect: a vector environment that declares AutoresetMode.NEXT_STEP pays
# nothing in the step that only resets, as Gymnasium's own do, so that the sum of rewards
# up to the next end is the return of an episode.
#
# Behaviour: the step that resets charges the loss of the prediction that was sent with it
# against the new picture, of which the agent has seen nothing yet. An episode of 16 steps
# has 17 rewards.
#
# Seen:
#   mode NEXT_STEP
#   ends after steps: [16, 33, 50]
#   rewards of the steps that reset are 0: False
#   single copy, lengths of episodes: [16, 16, 16]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ap_gym==0.7.1 gymnasium==1.4.0 numpy==2.4.6 aiohttp==3.14.5 pillow==13.0.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import ap_gym  # registers its environments
import gymnasium as gym
import numpy as np

NAME = "CircleSquare-s15-v0"
vector = gym.make_vec(NAME, num_envs=2)
vector.action_space.seed(0)
vector.reset(seed=3)
ends, paid, over = [], [], False
for step in range(1, 51):
    _, reward, terminated, truncated, _ = vector.step(vector.action_space.sample())
    if over:
        paid.append(float(reward[0]))
    over = bool(terminated[0] or truncated[0])
    if over:
        ends.append(step)

single, lengths, length = gym.make(NAME), [], 0
single.action_space.seed(0)
single.reset(seed=3)
while len(lengths) < 3:
    _, _, terminated, truncated, _ = single.step(single.action_space.sample())
    length += 1
    if terminated or truncated:
        lengths.append(length)
        length = 0
        single.reset()

print("mode", vector.metadata["autoreset_mode"].name)
print("ends after steps:", ends)
print("rewards of the steps that reset are 0:", not np.any(paid))
print("single copy, lengths of episodes:", lengths)

assert vector.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP
assert ends == [16, 33, 50] and lengths == [16, 16, 16]
assert len(paid) == 2 and all(reward != 0 for reward in paid)
PYTHON
