#!/usr/bin/env bash
# stable-baselines3 2.9.2 with gymnasium 1.4.0, torch 2.13.0, Python 3.11
# Date: 2026-11-28
#
# A user would expect: in a task that terminates at its goal, a transition that
# hindsight relabels as a success is a terminal one, as the same transition under its
# original goal is.
#
# Behaviour: HerReplayBuffer recomputes the reward for the new goal and leaves done
# as it was. Most relabelled successes bootstrap beyond the goal; the value that the
# agent learns for reaching it is that of going on with reward 0 or -1.
#
# Seen:
#   original goals:   132 successes, 132 of them done
#   relabelled goals: 869 successes, 131 of them done
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet stable-baselines3==2.9.2 gymnasium==1.4.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from stable_baselines3 import DQN, HerReplayBuffer

BITS = 4


class BitFlipping(gym.Env):
    action_space = Discrete(BITS)
    observation_space = Dict(
        {key: Box(0, 1, (BITS,), np.float32) for key in ("observation", "achieved_goal", "desired_goal")}
    )

    def observe(self):
        state, goal = self.state.copy(), self.goal.copy()
        return {"observation": state, "achieved_goal": state.copy(), "desired_goal": goal}

    def compute_reward(self, achieved, desired, info):
        return -np.any(np.asarray(achieved) != np.asarray(desired), axis=-1).astype(np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.goal = self.np_random.integers(0, 2, (2, BITS)).astype(np.float32)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.state[action] = 1 - self.state[action]
        self.steps += 1
        reward = float(self.compute_reward(self.state, self.goal, {}))
        return self.observe(), reward, reward == 0, self.steps >= 8, {}


model = DQN(
    "MultiInputPolicy", BitFlipping(), replay_buffer_class=HerReplayBuffer,
    learning_starts=10_000, buffer_size=5_000, seed=0,
)
model.learn(1_000)
counts = []
for name, ratio in (("original goals:  ", 0.0), ("relabelled goals:", 1.0)):
    model.replay_buffer.her_ratio = ratio
    batch = model.replay_buffer.sample(2_000)
    success = batch.rewards.numpy()[:, 0] == 0
    done = batch.dones.numpy()[:, 0][success] == 1
    counts.append((int(success.sum()), int(done.sum())))
    print(f"{name} {counts[-1][0]} successes, {counts[-1][1]} of them done")

assert counts[0][0] == counts[0][1] > 20
assert counts[1][0] > 200 and counts[1][1] < 0.5 * counts[1][0]
PYTHON
