#!/usr/bin/env bash
# mo-gymnasium 1.3.2 with gymnasium 1.4.0, mujoco 4.0.0, numpy 2.4.6, Python 3.11
# Date: 2026-12-01
#
# A user would expect: with the weights that the class names (1.25, 0.1) LinearReward makes
# Humanoid-v5 of mo-humanoid-v5: "The original Gymnasium's 'Humanoid-v5' is recovered by the
# following linear scalarization". So it is with HalfCheetah and its weights.
#
# Behaviour: the reward for not having fallen, and the one for contacts, are added to each of
# the objectives, and so count 1.35 times: 6.75 a step and not 5. A policy that never falls
# is paid up to 1,750 more in 1,000 steps than by Humanoid-v5, so that returns of the two
# cannot be compared. No weights make up for it: forward speed needs 1.25, control 0.1,
# the rest a sum of 1. Hopper's and Walker2d's weights add up to 1.001.
#
# Seen (the same seed and random actions in both, bit-equal observations; what is paid more
# per step until the fall, but for 0.35 of the contacts' cost):
#   mo-halfcheetah-v5 [1.0, 0.1]: 0.000
#   mo-hopper-v5 [1.0, 0.0, 0.001]: 0.001
#   mo-humanoid-v5 [1.25, 0.1]: 1.750
#   return of the first episode: mo-humanoid-v5 132.8, Humanoid-v5 98.8
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mo-gymnasium==1.3.2 "gymnasium[mujoco]==1.4.0" mujoco==4.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import re

import gymnasium as gym
import mo_gymnasium as mo_gym
import numpy as np
from mo_gymnasium.wrappers import LinearReward


def episode(name, original):
    """Step one episode of both; returns weights, differences and returns."""
    env = mo_gym.make(name)
    claim = type(env.unwrapped).__doc__
    assert f"original Gymnasium's '{original}' is recovered" in claim
    weights = [float(number) for number in re.search(r"np\.array\(\[(.*?)\]\)", claim)[1].split(",")]
    env, plain = LinearReward(env, weight=np.array(weights)), gym.make(original)
    first, second = env.reset(seed=0)[0], plain.reset(seed=0)[0]
    assert np.array_equal(first, second)
    plain.action_space.seed(0)
    rewards = []
    over = False
    while not over and len(rewards) < 200:
        action = plain.action_space.sample()
        first, reward, *ends, _ = env.step(action)
        second, expected, *same, info = plain.step(action)
        assert np.array_equal(first, second) and ends == same
        over = any(ends)
        rewards.append((reward, expected, 0.35 * info.get("reward_contact", 0.0), ends[0]))
    return weights, rewards


for name, original, extra in (
    ("mo-halfcheetah-v5", "HalfCheetah-v5", 0.0),
    ("mo-hopper-v5", "Hopper-v5", 0.001),
    ("mo-humanoid-v5", "Humanoid-v5", 1.75),
):
    weights, rewards = episode(name, original)
    standing = [reward - expected - contact for reward, expected, contact, fallen in rewards if not fallen]
    print(f"{name} {weights}: {abs(np.mean(standing)):.3f}")
    assert len(standing) > 10 and np.allclose(standing, extra, atol=1e-5)

total, expected = (sum(row[i] for row in rewards) for i in (0, 1))
print(f"return of the first episode: mo-humanoid-v5 {total:.1f}, Humanoid-v5 {expected:.1f}")
assert total > expected + 30
PYTHON
