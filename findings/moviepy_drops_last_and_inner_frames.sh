#!/usr/bin/env bash
# moviepy 2.2.1 with gymnasium 1.4.0, imageio-ffmpeg 0.8.1, numpy 2.4.6, Python 3.11
# Date: 2026-11-30
#
# A user would expect: the video of an episode by Gymnasium's RecordVideo (which makes
# it with moviepy's ImageSequenceClip) has every frame once, the last one above all:
# it shows how the episode ended.
#
# Behaviour: frames are found by their times, which are sums of rounded fractions of a
# second. For many lengths the last frame is missing; in longer videos frames within are
# missing too, and the one before is shown twice, so frame n is not step n. Of a whole
# episode of CartPole (501 frames at 50 a second) 61 frames are lost, towards its end
# every second one. The number of frames can be right although some are missing.
#
# Seen (each frame shows its own number; read back from the files):
#   6 frames at 30 a second:   5 in the file, missing 1, shown twice 0, last one shown 4
#   76 frames at 30 a second:  76 in the file, missing 1, shown twice 1, last one shown 75
#   501 frames at 50 a second: 500 in the file, missing 61, shown twice 60, last one shown 499
#   lengths from 1 to 100 that keep every frame: 58 at 30 frames a second, 21 at 10
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet moviepy==2.2.1 gymnasium==1.4.0 numpy==2.4.6 imageio-ffmpeg==0.8.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import glob

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import RecordVideo
from moviepy.video.io.ImageSequenceClip import ImageSequenceClip

BITS = 2 ** np.arange(9)


def picture(number):  # its number as nine black or white stripes
    stripes = np.repeat(255 * (number // BITS % 2), 16).astype(np.uint8)
    return np.broadcast_to(stripes[None, :, None], (64, 144, 3)).copy()


def number(frame):
    return int((frame[32, 8::16, 0] > 127) @ BITS)


class Numbers(gym.Env):
    observation_space, action_space = Box(0, 1, (1,), np.float32), Discrete(2)
    render_mode = "rgb_array"

    def __init__(self, rate):
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": rate}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), 0.0, False, False, {}

    def render(self):
        return picture(self.steps)


def video(rate, length):
    name = f"at_{rate}_{length}"
    env = RecordVideo(Numbers(rate), name, disable_logger=True)
    env.reset(seed=0)
    for _ in range(length - 1):
        env.step(0)
    env.close()
    reader = imageio_ffmpeg.read_frames(*glob.glob(f"{name}/*.mp4"))
    next(reader)
    return [number(np.frombuffer(frame, np.uint8).reshape(64, 144, 3)) for frame in reader]


def complete(rate, length):
    clip = ImageSequenceClip([picture(step) for step in range(length)], fps=rate)
    return [number(frame) for frame in clip.iter_frames(fps=rate)] == list(range(length))


found = []
for rate, length in ((30, 6), (30, 76), (50, 501)):
    shown = video(rate, length)
    missing = length - len(set(shown))
    found.append((len(shown), missing, len(shown) - len(set(shown)), shown[-1]))
    print(f"{length} frames at {rate} a second:".ljust(26), "{} in the file, missing {}, shown twice {},"
          " last one shown {}".format(*found[-1]))
kept = [sum(complete(rate, length) for length in range(1, 101)) for rate in (30, 10)]
print(f"lengths from 1 to 100 that keep every frame: {kept[0]} at 30 frames a second, {kept[1]} at 10")

assert found == [(5, 1, 0, 4), (76, 1, 1, 75), (500, 61, 60, 499)]
assert kept == [58, 21]
PYTHON
