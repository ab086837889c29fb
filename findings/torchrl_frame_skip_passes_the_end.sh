#!/usr/bin/env bash
# torchrl 0.14.1 with tensordict 0.14.3, torch 2.13.0, gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-29
#
# A user would expect: FrameSkipTransform(4) repeats an action up to four times and
# stops where the episode ends, as GymEnv(..., frame_skip=4) of the same library does.
#
# Behaviour: the transform always plays four steps, on a finished episode too, adds up
# their rewards and keeps the flags of the last one alone. The goal of
# MountainCarContinuous pays 100 once; here it pays up to four times. Where a state
# beyond the end is no end (Acrobot swings back below its line), the success is not
# seen and the episode goes on; episodes that are shorter than the skip never end.
#
# Seen (the same policy and seeds):
#   MountainCarContinuous-v0, returns by frame_skip=4:          [89, 89, 89, 89]
#   MountainCarContinuous-v0, returns by FrameSkipTransform(4): [389, 389, 389, 289]
#   Acrobot-v1, returns by frame_skip=4:          [-126, -151, -152, -154, -187, -111, -127, -104, -168, -118]
#   Acrobot-v1, returns by FrameSkipTransform(4): [-133, -151, -157, -181, -187, -111, -127, -136, -265, -122]
#   two steps an episode, by frame_skip=4:          reward 2.0, terminated True
#   two steps an episode, by FrameSkipTransform(4): reward 4.0, terminated False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torchrl==0.14.1 tensordict==0.14.3 torch==2.13.0 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torchrl.envs import FrameSkipTransform, GymEnv, GymWrapper, TransformedEnv

SKIP = 4


def push_as_it_moves(tensordict):
    forward = tensordict["observation"][1:] >= 0
    return tensordict.set("action", torch.where(forward, 1.0, -1.0))


def swing(tensordict):
    action = 2 if tensordict["observation"][5] > 0 else 0
    return tensordict.set("action", torch.nn.functional.one_hot(torch.tensor(action), 3))


def returns(env, policy, steps, seeds):
    found = []
    for seed in range(seeds):
        env.set_seed(seed)
        found.append(round(float(env.rollout(steps, policy)["next", "reward"].sum())))
    return found


results = {}
for name, policy, seeds in (("MountainCarContinuous-v0", push_as_it_moves, 4), ("Acrobot-v1", swing, 10)):
    inside = GymEnv(name, frame_skip=SKIP)
    around = TransformedEnv(GymEnv(name), FrameSkipTransform(SKIP))
    results[name] = [returns(env, policy, 300, seeds) for env in (inside, around)]
    print(f"{name}, returns by frame_skip=4:         ", results[name][0])
    print(f"{name}, returns by FrameSkipTransform(4):", results[name][1])


class TwoSteps(gym.Env):
    observation_space = Box(0, 100, (1,), np.float32)
    action_space = Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, self.steps, np.float32), 1.0, self.steps == 2, False, {}


ends = []
for name, env in (
    ("frame_skip=4:         ", GymWrapper(TwoSteps(), frame_skip=SKIP)),
    ("FrameSkipTransform(4):", TransformedEnv(GymWrapper(TwoSteps()), FrameSkipTransform(SKIP))),
):
    step = env.rollout(1)["next"]
    ends.append((float(step["reward"]), bool(step["terminated"])))
    print(f"two steps an episode, by {name} reward {ends[-1][0]}, terminated {ends[-1][1]}")

car, acrobot = results["MountainCarContinuous-v0"], results["Acrobot-v1"]
assert all(value < 100 for value in car[0]) and all(value > 200 for value in car[1])
assert all(there <= here for here, there in zip(*acrobot, strict=True))
assert sum(there < here - SKIP for here, there in zip(*acrobot, strict=True)) >= 3
assert ends == [(2.0, True), (4.0, False)]
PYTHON
