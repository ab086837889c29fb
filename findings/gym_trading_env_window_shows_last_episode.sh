#!/usr/bin/env bash
# gym-trading-env 0.3.5 with gymnasium 1.4.0, numpy 2.4.6, pandas 3.1.1, Python 3.11
# Date: 2026-11-30
#
# A user would expect: the first observation of an episode tells nothing about the
# episodes before it. With windows=5 it holds the last five rows of the market and, for
# each, the position that the agent held; in this episode it has held none yet.
#
# Behaviour: the positions are written into the environment's own table of features and
# are never taken out. Where an episode begins in a part of the market that was played
# before, its first windows show the positions that were taken then. The same start has
# another observation in a copy that has played than in a new one, and the agent sees
# its own earlier choices until the window has moved past them.
#
# Seen (positions in the five rows of the first observation, the same start each time;
# the start is drawn from NumPy's global generator, so that is seeded):
#   new copy:                    [0.0, 0.0, 0.0, 0.0, 0.0]
#   after an episode held long:  [1.0, 1.0, 1.0, 1.0, 0.0]
#   after an episode held short: [-1.0, -1.0, -1.0, -1.0, 0.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.4.6 pandas==3.1.1
"$folder/venv/bin/pip" install --quiet --no-deps gym-trading-env==0.3.5  # the others are for downloads and pictures
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import gymnasium as gym
import gym_trading_env  # registers the environment
import numpy as np
import pandas as pd

ROWS, WINDOW = 200, 5
prices = 100 + np.random.default_rng(0).normal(size=ROWS).cumsum()
market = pd.DataFrame(
    {"open": prices, "high": prices + 1, "low": prices - 1, "close": prices,
     "feature_row": np.arange(ROWS, dtype=float)},
    index=pd.date_range("2026-01-01", periods=ROWS, freq="h"))
SHORT, LONG = 0, 2


def start(env):
    np.random.seed(3)
    return env.reset(seed=3)[0].copy()


def starts(action):
    env = gym.make("TradingEnv", df=market, positions=[-1, 0, 1], initial_position=0,
                   windows=WINDOW, max_episode_duration=100, verbose=0)
    fresh = start(env)
    env.reset()
    ended = False
    while not ended:
        _, _, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
    return fresh, start(env)


fresh, long = starts(LONG)
again, short = starts(SHORT)
ROW, POSITION = 0, 1
print("new copy:                   ", fresh[:, POSITION].tolist())
print("after an episode held long: ", long[:, POSITION].tolist())
print("after an episode held short:", short[:, POSITION].tolist())

assert np.array_equal(fresh, again)
assert np.array_equal(fresh[:, ROW], long[:, ROW]) and np.array_equal(fresh[:, ROW], short[:, ROW])
assert np.all(fresh[:, POSITION] == 0)
assert long[:, POSITION].tolist() == [1, 1, 1, 1, 0]
assert short[:, POSITION].tolist() == [-1, -1, -1, -1, 0]
PYTHON
