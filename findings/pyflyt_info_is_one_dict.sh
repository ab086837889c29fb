#!/usr/bin/env bash
# PyFlyt 0.29.0 with gymnasium 1.4.0, numpy 1.26.4, Python 3.11
# Date: 2026-11-28
#
# A user would expect: the info of a step stays what it was when it was returned.
#
# Behaviour: reset() and every step() of an episode return one dictionary, which
# the environment goes on writing to. A list of infos (a cost or constraint that is
# worked out from info["collision"] at the end of an episode or rollout) says that
# each step collided, the reset included.
#
# Seen:
#   infos kept, read at the end:   17 of 17 say collision
#   infos copied, read at the end:  1 of 17 say collision
#   different dictionaries: 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet PyFlyt==0.29.0 gymnasium==1.4.0 numpy==1.26.4
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
import PyFlyt.gym_envs

env = gym.make("PyFlyt/QuadX-Hover-v4")
_, info = env.reset(seed=0)
kept, copied = [info], [dict(info)]
for _ in range(100):
    _, _, terminated, truncated, info = env.step(np.zeros(4))
    kept.append(info)
    copied.append(dict(info))
    if terminated or truncated:
        break
counts = [sum(info["collision"] for info in infos) for infos in (kept, copied)]
print(f"infos kept, read at the end:   {counts[0]:2} of {len(kept)} say collision")
print(f"infos copied, read at the end: {counts[1]:2} of {len(copied)} say collision")
print("different dictionaries:", len({id(info) for info in kept}))

assert terminated and len(kept) > 10
assert counts == [len(kept), 1]
PYTHON
