#!/usr/bin/env bash
# gymnasium 1.4.0 with numpy 2.4.6, Python 3.11
# Date: 2026-11-29
#
# A user would expect: a number in a copy's info arrives in the info of the vector
# environment as it was, whatever the other copies have to say.
#
# Behaviour: the first copy that has a key decides the dtype of everybody's array. An
# int there cuts all other copies' fractions off, without a warning, and the mask
# "_key" says that the values are valid. FrozenLake does it by itself: its reset says
# prob 1 (an int), its steps say 1/3, so in every step in which copy 0 begins a new
# episode the others' transitions have probability 0. A rate of success or a cost that
# is 0 in copy 0 and 0.7 in copy 1 is logged as 0. If the first copy has an int and
# another one None, the step raises.
#
# Seen:
#   copy 0 plays on:      float64, others' prob [0.3333]
#   copy 0 was reset:     int64, others' prob [0.0]
#   single environments:  prob [0.3333]
#   scores 0 and 0.7:     [0 0], valid [ True  True]
#   scores 0.7 and 0:     [0.7 0. ], valid [ True  True]
#   scores 1 and None:    TypeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete

COPIES = 3

envs = gym.make_vec("FrozenLake-v1", num_envs=COPIES, vectorization_mode="sync")
envs.reset(seed=0)
envs.action_space.seed(0)
dtypes = {False: set(), True: set()}
others = {False: set(), True: set()}
begins = np.zeros(COPIES, bool)
for _ in range(500):
    _, _, terminated, truncated, info = envs.step(envs.action_space.sample())
    first_begins = bool(begins[0])
    dtypes[first_begins].add(str(info["prob"].dtype))
    played_on = ~begins & info["_prob"]
    played_on[0] = False
    others[first_begins].update(float(prob) for prob in info["prob"][played_on].round(4))
    begins = terminated | truncated
for first_begins, name in ((False, "copy 0 plays on:     "), (True, "copy 0 was reset:    ")):
    print(name, *dtypes[first_begins], "others' prob", sorted(others[first_begins]), sep=" ")

single = set()
env = gym.make("FrozenLake-v1")
env.reset(seed=0)
env.action_space.seed(0)
for _ in range(500):
    _, _, terminated, truncated, info = env.step(env.action_space.sample())
    single.add(round(float(info["prob"]), 4))
    if terminated or truncated:
        env.reset()
print("single environments:  prob", sorted(single))


class Scored(gym.Env):
    observation_space = action_space = Discrete(2)

    def __init__(self, score):
        self.score = score

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, 0.0, False, False, {"score": self.score}


def step_of(*scores):
    envs = gym.vector.SyncVectorEnv([lambda score=score: Scored(score) for score in scores])
    envs.reset(seed=0)
    return envs.step(np.zeros(len(scores), int))[4]


cut, kept = step_of(0, 0.7), step_of(0.7, 0)
print("scores 0 and 0.7:    ", cut["score"], "valid", cut["_score"], sep=" ")
print("scores 0.7 and 0:    ", kept["score"], "valid", kept["_score"], sep=" ")
try:
    step_of(1, None)
    raised = None
except TypeError as error:
    raised = type(error).__name__
print("scores 1 and None:   ", raised)

assert dtypes == {False: {"float64"}, True: {"int64"}}
assert others == {False: {0.3333}, True: {0.0}}
assert single == {0.3333}
assert cut["score"].tolist() == [0, 0] and cut["_score"].all()
assert kept["score"].tolist() == [0.7, 0.0]
assert raised == "TypeError"
PYTHON
