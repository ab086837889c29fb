#!/usr/bin/env bash
# supersuit 3.11.0 with pettingzoo 1.27.0, gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-29
#
# A user would expect: frame_stack with stack_dim=0 (channels first, as PyTorch wants
# them) shows the last four frames, the newest last, as stack_dim=-1 does.
#
# Behaviour: grey frames (two dimensions, what color_reduction_v0 leaves) are written
# into all places but the last. The stack is three times the present frame and a
# black one, for ever: whatever moves has no velocity, and no error, shape or dtype
# tells. frame_stack_v1 and v2 do it; frames of three dimensions are stacked right.
#
# Seen (frames are filled with their number; a reset and four steps):
#   v1, grey, stack_dim=-1: [[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
#   v1, grey, stack_dim=0:  [[1, 1, 1, 0], [2, 2, 2, 0], [3, 3, 3, 0], [4, 4, 4, 0], [5, 5, 5, 0]]
#   v2, grey, stack_dim=-1: [[1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
#   v2, grey, stack_dim=0:  [[1, 1, 1, 0], [2, 2, 2, 0], [3, 3, 3, 0], [4, 4, 4, 0], [5, 5, 5, 0]]
#   v2, one channel first:  [[1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet supersuit==3.11.0 gymnasium==1.4.0 numpy==2.4.6 tinyscaler==1.2.8 pettingzoo==1.27.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
import supersuit
from gymnasium.spaces import Box, Discrete


class Counter(gym.Env):
    action_space = Discrete(2)

    def __init__(self, shape):
        self.observation_space = Box(0, 255, shape, np.uint8)

    def frame(self):
        return np.full(self.observation_space.shape, self.number, np.uint8)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.number = 1
        return self.frame(), {}

    def step(self, action):
        self.number += 1
        return self.frame(), 0.0, False, False, {}


def stacks(env, wrapper, dimension):
    env = wrapper(env, stack_size=4, stack_dim=dimension)
    observations = [env.reset(seed=0)[0].copy()]
    observations += [env.step(0)[0].copy() for _ in range(4)]
    assert all(env.observation_space.contains(observation) for observation in observations)
    frames = [np.moveaxis(observation, dimension, 0) for observation in observations]
    assert all(np.ptp(frame) == 0 for stack in frames for frame in stack)
    return [[int(frame.flat[0]) for frame in stack] for stack in frames]


def grey():
    return supersuit.color_reduction_v0(Counter((8, 8, 3)), mode="full")


past = [[1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
from_black = [[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
no_past = [[now, now, now, 0] for now in range(1, 6)]
for name, env, wrapper, dimension, expected in (
    ("v1, grey, stack_dim=-1:", grey(), supersuit.frame_stack_v1, -1, from_black),
    ("v1, grey, stack_dim=0: ", grey(), supersuit.frame_stack_v1, 0, no_past),
    ("v2, grey, stack_dim=-1:", grey(), supersuit.frame_stack_v2, -1, past),
    ("v2, grey, stack_dim=0: ", grey(), supersuit.frame_stack_v2, 0, no_past),
    ("v2, one channel first: ", Counter((1, 8, 8)), supersuit.frame_stack_v2, 0, past),
):
    found = stacks(env, wrapper, dimension)
    print(name, found)
    assert found == expected
PYTHON
