#!/usr/bin/env bash
# pgtg 0.6.1 with gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: the keys of a Dict space are strings, its order is the sorted
# one (Gymnasium sorts a dictionary that it is given), and an observation has its
# keys in the same order.
#
# Behaviour: the keys of the observation's "map" are members of two enumerations and
# a plain int. They cannot be sorted, so the Dict has an order of its own, which the
# observation does not have; joined by position, parts land in the wrong place, and
# whatever asks for names as strings (torch.nn.ModuleDict, npz files) must rename them.
#
# Seen:
#   space:       [<MapFeature.WALL: 1>, 6, <MapFeature.TRAFFIC: 8>, <SignalColor.GREEN: 'green'>, <SignalColor.RED: 'red'>, <SignalColor.YELLOW: 'yellow'>]
#   observation: [<MapFeature.TRAFFIC: 8>, <MapFeature.WALL: 1>, 6, <SignalColor.GREEN: 'green'>, <SignalColor.YELLOW: 'yellow'>, <SignalColor.RED: 'red'>]
#   sorted(space): '<' not supported between instances of 'SignalColor' and 'MapFeature'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pgtg==0.6.1 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import pgtg

env = gym.make("pgtg-v5")
space = env.observation_space["map"]
observation = env.reset(seed=0)[0]["map"]
print("space:      ", list(space))
print("observation:", list(observation))
try:
    sorted(space)
except TypeError as raised:
    error = str(raised)
print("sorted(space):", error)

assert not any(isinstance(key, str) and type(key) is str for key in space)
assert len({type(key) for key in space}) > 1
assert list(space) != list(observation) and set(space) == set(observation)
assert "not supported between instances" in error
PYTHON
