#!/usr/bin/env bash
# minari 0.5.4 with gymnasium 1.4.0, jax 0.10.2, h5py 3.16.0, pillow 13.0.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: after reset(seed=3) the episodes that follow, reset() without a
# seed, are the same in every run, as Gymnasium documents ("reset once with a seed,
# then not again"), whether a collector records them or not.
#
# Behaviour: DataCollector draws a seed of its own for each reset() without one. The
# episode of reset(seed=3) repeats, those after it do not: a recorded data set
# cannot be collected again, and an agent trained through the collector is another
# one than without it.
#
# Seen (first observations of the resets with seed 3, None, None equal in two runs):
#   plain environment: [True, True, True]
#   DataCollector:     [True, False, False]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet minari==0.5.4 gymnasium==1.4.0 jax==0.10.2 jaxlib==0.10.2 h5py==3.16.0 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import os

os.environ["MINARI_DATASETS_PATH"] = os.path.join(os.getcwd(), "datasets")

import gymnasium as gym
import numpy as np
from minari import DataCollector


def starts(collect):
    env = gym.make("CartPole-v1")
    if collect:
        env = DataCollector(env)
    observations = []
    for seed in (3, None, None):
        observations.append(env.reset(seed=seed)[0].copy())
        for _ in range(3):
            env.step(0)
    return observations


equal = {}
for name, collect in (("plain environment:", False), ("DataCollector:    ", True)):
    equal[collect] = [bool(np.array_equal(a, b)) for a, b in zip(starts(collect), starts(collect))]
    print(name, equal[collect])

assert equal[False] == [True, True, True]
assert equal[True] == [True, False, False]
PYTHON
