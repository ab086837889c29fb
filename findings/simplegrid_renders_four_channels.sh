#!/usr/bin/env bash
# gym-simplegrid 1.1.0 with gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: render_mode="rgb_array" gives (height, width, 3), as
# Gymnasium documents ("an np.ndarray with shape (x, y, 3)").
#
# Behaviour: the frame has four channels; the fourth is 255 everywhere. Video
# writers, and pixel networks that were built for three, meet a fourth.
#
# Seen:
#   (480, 640, 4) uint8 fourth channel [255]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gym-simplegrid==1.1.0 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import gym_simplegrid
import numpy as np

env = gym.make("SimpleGrid-4x4-v0", render_mode="rgb_array")
env.reset(seed=0)
frame = env.render()
print(frame.shape, frame.dtype, "fourth channel", np.unique(frame[..., -1]))

assert frame.ndim == 3 and frame.shape[-1] == 4
assert np.all(frame[..., 3] == 255)
PYTHON
