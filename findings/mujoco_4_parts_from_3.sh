#!/usr/bin/env bash
# mujoco 3.17.0 and 4.0.0 with gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: Ant-v5 is one task (that is what the version in its name is
# for): the same seed and actions give the same episode, as they do for HalfCheetah-v5
# up to rounding.
#
# Behaviour: with MuJoCo 4 Ant parts from MuJoCo 3 at the first step by more than
# rounding in double precision, and within a hundred steps it is another episode.
# Neither name nor spec tells. A recorded trajectory, or a run resumed after an
# upgrade, does not replay.
#
# Seen (largest difference of an observation, the same actions):
#   HalfCheetah-v5: reset 0.0e+00, 1 step 2.4e-15, 100 steps 8.4e-15
#   Ant-v5: reset 0.0e+00, 1 step 5.8e-08, 100 steps 4.2e+00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.4.6 imageio==2.38.1 packaging==26.4 mujoco==3.17.0
cd "$folder"
cat > record.py <<'PYTHON'
import gymnasium as gym
import mujoco
import numpy as np

trajectories = {}
for name in ("HalfCheetah-v5", "Ant-v5"):
    env = gym.make(name)
    random = np.random.RandomState(0)
    observations = [env.reset(seed=0)[0]]
    for _ in range(100):
        action = random.uniform(-0.4, 0.4, env.action_space.shape).astype(np.float32)
        observations.append(env.step(action)[0])
    trajectories[name] = np.array(observations)
np.savez(f"mujoco{mujoco.__version__.split('.')[0]}.npz", **trajectories)
PYTHON
"$folder/venv/bin/python" -W ignore record.py
"$folder/venv/bin/pip" uninstall --quiet --yes mujoco
"$folder/venv/bin/pip" install --quiet mujoco==4.0.0
"$folder/venv/bin/python" -W ignore record.py

"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np

old, new = np.load("mujoco3.npz"), np.load("mujoco4.npz")
differences = {name: np.abs(old[name] - new[name]).max(axis=1) for name in old}
for name, values in differences.items():
    print(f"{name}: reset {values[0]:.1e}, 1 step {values[1]:.1e}, 100 steps {values[100]:.1e}")

assert differences["HalfCheetah-v5"][1] < 1e-12
assert differences["Ant-v5"][0] == 0 and differences["Ant-v5"][1] > 1e-10
assert differences["Ant-v5"][100] > 0.01
PYTHON
