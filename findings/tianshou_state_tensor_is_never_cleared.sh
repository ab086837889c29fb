#!/usr/bin/env bash
# tianshou 2.0.1 with torch 2.13.0, gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-30
#
# A user would expect: a Collector clears the hidden state of a recurrent policy where
# an episode ends, whether the state is a tensor (a GRU has one) or a dictionary of
# tensors.
#
# Behaviour: in a dictionary it is cleared. A state that is a tensor is meant to be
# cleared as well, but what is set to zero is a copy, so nothing happens: every episode
# but the first begins with the memory of the episodes before it. Shapes are right and
# nothing is said; training and evaluation both meet it.
#
# Seen (a state that counts the steps of its episode; episodes of three steps):
#   state in a dictionary: [1, 2, 3, 1, 2, 3, 1, 2, 3] and [1, 2, 3, 1, 2, 3, 1, 2, 3]
#   state as a tensor:     [1, 2, 3, 4, 5, 6, 7, 8, 9] and [1, 2, 3, 4, 5, 6, 7, 8, 9]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tianshou==2.0.1 torch==2.13.0 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from torch.distributions import Categorical


class ThreeSteps(gym.Env):
    observation_space = Box(0, 3, (1,), np.float32)
    action_space = Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, self.steps, np.float32), 1.0, self.steps == 3, False, {}


class Counter(torch.nn.Module):
    def __init__(self, as_dictionary):
        super().__init__()
        self.as_dictionary = as_dictionary

    def forward(self, obs, state=None, info=None):
        if state is None:
            count = torch.zeros(len(obs), 1)
        else:
            count = state["count"] if self.as_dictionary else state
        count = count + 1
        return torch.zeros(len(obs), 2), {"count": count} if self.as_dictionary else count


def counts(as_dictionary):
    policy = ProbabilisticActorPolicy(
        actor=Counter(as_dictionary), dist_fn=lambda logits: Categorical(logits=logits),
        action_space=ThreeSteps.action_space, action_scaling=False, action_bound_method=None)
    collector = Collector(policy, DummyVectorEnv([ThreeSteps] * 2), VectorReplayBuffer(100, 2))
    collector.reset()
    collector.collect(n_step=18)
    states = collector.buffer[:].policy.hidden_state
    states = states["count"] if as_dictionary else states
    return np.asarray(states).astype(int).reshape(2, 9).tolist()


cleared, kept = counts(True), counts(False)
print("state in a dictionary:", cleared[0], "and", cleared[1])
print("state as a tensor:    ", kept[0], "and", kept[1])

assert cleared == [[1, 2, 3] * 3] * 2
assert kept == [list(range(1, 10))] * 2
PYTHON
