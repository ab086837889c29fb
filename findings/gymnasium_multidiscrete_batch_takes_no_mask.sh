#!/usr/bin/env bash
# gymnasium 1.4.0 with numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: what batch_space makes of an action space takes masks as the
# space itself does, as it is for Discrete (whose batch is a MultiDiscrete).
#
# Behaviour: the batch of a MultiDiscrete is a Box. Its sample() raises on every
# mask, so the action space of a vector environment with MultiDiscrete actions cannot
# draw valid actions at random, while that of a single copy can. It is no subclass
# of MultiDiscrete either: code that tells discrete from continuous actions by the
# batched space takes these for continuous ones.
#
# Seen:
#   Discrete(3): batch MultiDiscrete([3 3]), masked sample [1 1]
#   MultiDiscrete([3 2]): masked sample [1 0], batch Box(0, [[2 1]
#    [2 1]], (2, 2), int64)
#   masked sample of the batch: Box.sample cannot be provided a mask, ...
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector.utils import batch_space

second, first = np.array([0, 1, 0], np.int8), np.array([1, 0], np.int8)

flat = batch_space(Discrete(3), 2)
masked = flat.sample(mask=(second, second))
print(f"Discrete(3): batch {flat}, masked sample {masked}")

space = MultiDiscrete([3, 2])
single = space.sample(mask=(second, first))
batch = batch_space(space, 2)
print(f"{space}: masked sample {single}, batch {batch}")

errors = []
for mask in ((second, first), ((second, first), (second, first)), np.ones((2, 2), np.int8)):
    try:
        batch.sample(mask=mask)
    except gym.error.Error as error:
        errors.append(str(error))
print("masked sample of the batch:", errors[0])

assert isinstance(flat, MultiDiscrete) and masked.tolist() == [1, 1]
assert single.tolist() == [1, 0]
assert isinstance(batch, Box) and not isinstance(batch, MultiDiscrete)
assert len(errors) == 3
PYTHON
