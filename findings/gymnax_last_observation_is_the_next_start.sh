#!/usr/bin/env bash
# gymnax 1.0.1 with gymnasium 1.3.0, jax 0.10.2, flax 0.12.8, numpy 2.4.6, Python 3.11
# Date: 2026-11-30
#
# A user would expect: GymnaxToGymWrapper is a Gymnasium environment, whose step
# returns the observation that its action led to, at the end of an episode as well.
#
# Behaviour: the step that ends an episode returns the first observation of another
# one, beside the reward and the flags of the old one. Agents for Gymnasium bootstrap a
# truncated Pendulum from it: the value of a random start in place of the state that
# was reached. reset() then draws a third state, so the start that was shown is never
# played. The right one is in the info, under the name that vector environments once had.
# GymnaxToVectorGymWrapper resets in the same step too and does not say so in its
# metadata: RecordEpisodeStatistics warns, takes the usual mode and loses a step of
# every episode but the first.
#
# Seen (Pendulum with a limit of 5 steps and no torque; CartPole with a limit of 20):
#   cos and sin of the angle: [-0.99, 0.144] after 4 steps, [0.958, 0.287] after 5
#   in the info of step 5:    [-0.983, 0.182]
#   shown is the state that reset() gives next: False
#   lengths by RecordEpisodeStatistics: [20, 19, 19], returns: [20, 19, 19]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnax==1.0.1 gymnasium==1.3.0 jax==0.10.2 flax==0.12.8 numpy==2.4.6 six==1.17.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnax
import numpy as np
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from gymnax.wrappers import GymnaxToGymWrapper, GymnaxToVectorGymWrapper


def angle(observation):
    return [round(float(number), 3) for number in observation[:2]]


pendulum, parameters = gymnax.make("Pendulum-v1")
env = GymnaxToGymWrapper(pendulum, parameters.replace(max_steps_in_episode=5))
env.reset(seed=0)
seen = []
for _ in range(5):
    observation, _, terminated, truncated, info = env.step(np.zeros(1, np.float32))
    seen.append(angle(observation))
reached = angle(info["final_observation"])
start = angle(env.reset()[0])
print("cos and sin of the angle:", seen[-2], "after 4 steps,", seen[-1], "after 5")
print("in the info of step 5:   ", reached)
print("shown is the state that reset() gives next:", seen[-1] == start)

cartpole, parameters = gymnax.make("CartPole-v1")
vector = GymnaxToVectorGymWrapper(cartpole, 2, parameters.replace(max_steps_in_episode=20))
declared = "autoreset_mode" in vector.metadata
vector = RecordEpisodeStatistics(vector)
vector.reset(seed=0)
lengths, returns = [], []
for step in range(60):
    *_, terminated, truncated, info = vector.step(np.full(2, step % 2))
    assert not terminated.any() and truncated.any() == (step % 20 == 19)
    if truncated[0]:
        lengths.append(int(info["episode"]["l"][0]))
        returns.append(int(info["episode"]["r"][0]))
print(f"lengths by RecordEpisodeStatistics: {lengths}, returns: {returns}")

assert not declared and lengths == [20, 19, 19] and returns == lengths
apart = [np.hypot(*np.subtract(seen[-2], other)) for other in (seen[-1], reached)]
assert apart[0] > 1 and apart[1] < 0.1
assert seen[-1] != start
PYTHON
