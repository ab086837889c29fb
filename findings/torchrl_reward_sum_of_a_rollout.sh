#!/usr/bin/env bash
# torchrl 0.14.1 with tensordict 0.14.3, torch 2.13.0, gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-29
#
# A user would expect: RewardSum, which says that it adds up rewards along time for each
# episode and takes a recorded rollout whose dimension is named "time", gives what it
# gives as a part of the environment.
#
# Behaviour: of a rollout of one environment nothing is added up: the "episode reward"
# is the reward of each step. Of several environments it adds up over the environments:
# the last of three is said to have three times the return, at its first step already.
# Shapes are right and nothing is said.
#
# Seen (episodes of three steps that pay 1, 2 and 3; two episodes in a row):
#   in the environment:         [1, 3, 6, 1, 3, 6]
#   of a rollout:               [1, 2, 3, 1, 2, 3]
#   of three environments, in them: [[1, 3, 6], [1, 3, 6], [1, 3, 6]]
#   of their rollout:           [[1, 2, 3], [2, 4, 6], [3, 6, 9]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torchrl==0.14.1 tensordict==0.14.3 torch==2.13.0 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from torchrl.envs import GymWrapper, RewardSum, SerialEnv, TransformedEnv


class ThreeSteps(gym.Env):
    observation_space = Box(0, 3, (1,), np.float32)
    action_space = Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, self.steps, np.float32), float(self.steps), self.steps == 3, False, {}


def one():
    return GymWrapper(ThreeSteps())


def numbers(data):
    return data["next", "episode_reward"][..., 0].int().tolist()


def afterwards(rollout):
    assert rollout.names[-1] == "time"
    total = RewardSum(in_keys=[("next", "reward")], out_keys=[("next", "episode_reward")])
    return numbers(total(rollout))


inside = numbers(TransformedEnv(one(), RewardSum()).rollout(6, break_when_any_done=False))
offline = afterwards(one().rollout(6, break_when_any_done=False))
print("in the environment:        ", inside)
print("of a rollout:              ", offline)
insides = numbers(TransformedEnv(SerialEnv(3, one), RewardSum()).rollout(3))
offlines = afterwards(SerialEnv(3, one).rollout(3))
print("of three environments, in them:", insides)
print("of their rollout:          ", offlines)

assert inside == [1, 3, 6, 1, 3, 6]
assert offline == [1, 2, 3, 1, 2, 3]
assert insides == [[1, 3, 6]] * 3
assert offlines == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]
PYTHON
