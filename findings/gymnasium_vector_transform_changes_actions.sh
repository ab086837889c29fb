#!/usr/bin/env bash
# gymnasium 1.4.0 with numpy 2.4.6, Python 3.11
# Date: 2026-12-01
#
# A user would expect: VectorizeTransformAction, which "vectorizes a single-agent transform
# action wrapper", does to a batch what TransformAction does to one action: the environment
# gets the transformed action, and the agent keeps the one that it chose, whose probability
# it knows and which it stores to learn from.
#
# Behaviour: if the transformation leaves the action space as it is (that of the class's own
# example does), the result is written into the caller's array. The action that the agent
# stores after the step is no longer the one that it chose. If the spaces differ in a bound,
# the same function leaves the array alone; so does TransformAction. A program that gives one
# array again, an action repeated four times, has it transformed anew each time.
#
# Seen (actions are halved):
#   TransformAction, one environment:        0.8 chosen, 0.8 afterwards
#   VectorizeTransformAction, same space:    0.8 chosen, 0.4 afterwards
#   VectorizeTransformAction, other space:   0.8 chosen, 0.8 afterwards
#   one array given four times, same space:  environment gets 0.4 0.2 0.1 0.05
#   one array given four times, other space: environment gets 0.4 0.4 0.4 0.4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TransformAction
from gymnasium.wrappers.vector import VectorizeTransformAction

got = []


class Recorder(gym.Env):
    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        got.append(round(float(action[0]), 3))
        return np.zeros(1, np.float32), 0.0, False, False, {}


def halved(action):
    return action / 2


def vector(space):
    envs = VectorizeTransformAction(
        SyncVectorEnv([Recorder]), wrapper=TransformAction, func=halved, action_space=space
    )
    envs.reset(seed=0)
    return envs


def given(env, action, times=1):
    got.clear()
    for _ in range(times):
        env.step(action)
    return round(float(action.ravel()[0]), 3), list(got)


same, other = Box(-1, 1, (1,), np.float32), Box(-2, 2, (1,), np.float32)
single = TransformAction(Recorder(), halved, same)
single.reset(seed=0)
results = [
    given(single, np.array([0.8], np.float32)),
    given(vector(same), np.array([[0.8]], np.float32)),
    given(vector(other), np.array([[0.8]], np.float32)),
]
names = "TransformAction, one environment:", "VectorizeTransformAction, same space:", "VectorizeTransformAction, other space:"
for name, (after, _) in zip(names, results, strict=True):
    print(f"{name:40} 0.8 chosen, {after} afterwards")
repeated = [given(vector(space), np.array([[0.8]], np.float32), times=4)[1] for space in (same, other)]
for name, actions in zip(("same space: ", "other space:"), repeated, strict=True):
    print(f"one array given four times, {name} environment gets", *actions)

assert [sent for _, sent in results] == [[0.4]] * 3
assert [after for after, _ in results] == [0.8, 0.4, 0.8]
assert repeated == [[0.4, 0.2, 0.1, 0.05], [0.4] * 4]
PYTHON
