#!/usr/bin/env bash
# skrl 2.1.1 with torch 2.13.0, gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-30
#
# A user would expect: an agent learns from the same transitions whether its
# environment runs alone or in a Gymnasium vector environment.
#
# Behaviour: a vector environment's reset is stored as a transition. After each
# episode the memory has one step that was never played: from the last observation to
# the first of the next episode, reward 0, no end. What is learned from it is that
# episodes go on; where a time limit ends them, the value of the last observation is
# bootstrapped from the next start. With autoreset_mode=SAME_STEP there is no such step,
# but the observation that an episode ends with is replaced by the next episode's first.
#
# Seen (observations are the step's number; episodes end after three steps of reward 1):
#   alone, from:       [0, 1, 2, 0, 1, 2, 0, 1, 2]
#   alone, to:         [1, 2, 3, 1, 2, 3, 1, 2, 3]
#   vector, from:      [0, 1, 2, 3, 0, 1, 2, 3, 0]
#   vector, to:        [1, 2, 3, 0, 1, 2, 3, 0, 1]
#   vector, rewards:   [1, 1, 1, 0, 1, 1, 1, 0, 1]
#   vector, ends:      [0, 0, 1, 0, 0, 0, 1, 0, 0]
#   in the same step, to: [1, 2, 0, 1, 2, 0, 1, 2, 0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet skrl==2.1.1 torch==2.13.0 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from skrl import logger
from skrl.agents.torch.dqn import DQN, DQN_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, Model
from skrl.trainers.torch import SequentialTrainer

STEPS = 9
logger.setLevel("ERROR")


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


class Values(DeterministicMixin, Model):
    def __init__(self, **spaces):
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.layer = torch.nn.Linear(1, 2)

    def compute(self, inputs, role):
        return self.layer(inputs["observations"]), {}


def stored(env):
    env = wrap_env(env, verbose=False)
    spaces = dict(observation_space=env.observation_space, state_space=None,
                  action_space=env.action_space, device="cpu")
    memory = RandomMemory(memory_size=STEPS, num_envs=env.num_envs, device="cpu")
    settings = DQN_CFG()
    settings.experiment.write_interval = settings.experiment.checkpoint_interval = 0
    settings.learning_starts = settings.random_timesteps = 1000
    agent = DQN(models={"q_network": Values(**spaces), "target_q_network": Values(**spaces)},
                memory=memory, cfg=settings, **spaces)
    SequentialTrainer(env=env, agents=agent, cfg={
        "timesteps": STEPS, "headless": True, "disable_progressbar": True}).train()
    names = "observations", "next_observations", "rewards", "terminated"
    return [memory.get_tensor_by_name(name)[:, 0].flatten().int().tolist() for name in names]


alone = stored(ThreeSteps())
vector = stored(SyncVectorEnv([ThreeSteps] * 2))
same = stored(SyncVectorEnv([ThreeSteps] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
print("alone, from:      ", alone[0])
print("alone, to:        ", alone[1])
print("vector, from:     ", vector[0])
print("vector, to:       ", vector[1])
print("vector, rewards:  ", vector[2])
print("vector, ends:     ", vector[3])
print("in the same step, to:", same[1])

assert alone == [[0, 1, 2] * 3, [1, 2, 3] * 3, [1] * 9, [0, 0, 1] * 3]
assert vector[:2] == [[0, 1, 2, 3, 0, 1, 2, 3, 0], [1, 2, 3, 0, 1, 2, 3, 0, 1]]
assert vector[2:] == [[1, 1, 1, 0, 1, 1, 1, 0, 1], [0, 0, 1, 0, 0, 0, 1, 0, 0]]
assert same == [[0, 1, 2] * 3, [1, 2, 0] * 3, [1] * 9, [0, 0, 1] * 3]
PYTHON
