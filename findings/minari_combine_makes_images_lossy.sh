#!/usr/bin/env bash
# minari 0.5.4 with gymnasium 1.4.0, h5py 3.16.0, pillow 13.0.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-30
#
# A user would expect: data sets that were stored with jpeg_encoding=False, which is
# documented to keep raw arrays ("lossless but larger"), have the same pixels after
# combine_datasets, which puts their episodes into one data set.
#
# Behaviour: the images of the combined data set are always stored as JPEG, and
# combine_datasets has no argument to say otherwise. The pixels of its observations are
# others than those of the data sets it was made of. Nothing warns: spaces, shapes, dtype
# and lengths are the same.
#
# Seen:
#   jpeg_encoding of the two data sets: [False, False], of the combined one: True
#   pixels of a single set differ from those written by at most 0
#   pixels of the combined set differ by at most 49 of 255; 98% of the numbers that were
#   not zero have changed, and 8804 that were zero are not
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet minari==0.5.4 gymnasium==1.4.0 h5py==3.16.0 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import inspect
import os

os.environ["MINARI_DATASETS_PATH"] = os.path.join(os.getcwd(), "datasets")

import minari
import numpy as np
from gymnasium.spaces import Box, Discrete
from minari.data_collector import EpisodeBuffer

STEPS = 8


def frames(start):
    """A red paddle and a ball of 2 by 2 pixels that moves, on black."""
    pixels = np.zeros((STEPS + 1, 64, 64, 3), np.uint8)
    pixels[:, 20:30, 4:6] = (213, 130, 74)
    for step in range(STEPS + 1):
        row, column = start + 3 * step, 10 + 5 * step
        pixels[step, row:row + 2, column:column + 2] = 236
    return pixels


def stored(name, pixels):
    episode = EpisodeBuffer(
        observations=list(pixels), actions=[0] * STEPS, rewards=[0.0] * STEPS,
        terminations=[False] * (STEPS - 1) + [True], truncations=[False] * STEPS)
    return minari.create_dataset_from_buffers(
        name, [episode], observation_space=Box(0, 255, (64, 64, 3), np.uint8),
        action_space=Discrete(2), jpeg_encoding=False)


def furthest(first, second):
    return int(np.abs(first.astype(int) - second.astype(int)).max())


written = [frames(5), frames(20)]
parts = [stored(f"part{number}-v0", pixels) for number, pixels in enumerate(written)]
whole = minari.combine_datasets(parts, "whole-v0")
flags = [part.storage.jpeg_encoding for part in parts], whole.storage.jpeg_encoding
print(f"jpeg_encoding of the two data sets: {flags[0]}, of the combined one: {flags[1]}")

alone = max(furthest(part[0].observations, pixels) for part, pixels in zip(parts, written))
print("pixels of a single set differ from those written by at most", alone)
before = np.concatenate(written)
after = np.concatenate([episode.observations for episode in whole])
drawn = before > 0
changed = float((before != after)[drawn].mean())
smeared = int((after[~drawn] > 0).sum())
print(f"pixels of the combined set differ by at most {furthest(before, after)} of 255;",
      f"{changed:.0%} of the numbers that were\nnot zero have changed, and {smeared} that were zero are not")

assert "jpeg_encoding" not in inspect.signature(minari.combine_datasets).parameters
assert flags == ([False, False], True) and alone == 0
assert after.dtype == before.dtype and after.shape == before.shape
assert furthest(before, after) > 20 and changed > 0.2 and smeared > 100
PYTHON
