#!/usr/bin/env bash
# popgym 1.0.7 with gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: tasks of one suite whose episodes have a fixed length end them
# in one way: as truncation, or (the length being part of the task) as termination.
#
# Behaviour: it depends on the task. Five card tasks set terminated; the bandit,
# the card task Concentration and the pendulum set truncated, at the same kind of
# fixed length. An agent that bootstraps from truncated episodes alone learns from
# two definitions of the return in one benchmark.
#
# Seen (length and end of 20 episodes of random actions):
#   AutoencodeEasy             103 terminated
#   RepeatPreviousEasy          51 terminated
#   RepeatFirstEasy             51 terminated
#   CountRecallEasy             51 terminated
#   HigherLowerEasy             51 terminated
#   MultiarmedBanditEasy       200 truncated
#   ConcentrationEasy          104 truncated
#   PositionOnlyPendulumEasy   200 truncated
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet popgym==1.0.7 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from popgym import envs

NAMES = (
    "AutoencodeEasy RepeatPreviousEasy RepeatFirstEasy CountRecallEasy HigherLowerEasy "
    "MultiarmedBanditEasy ConcentrationEasy PositionOnlyPendulumEasy"
)
ends = {}
for name in NAMES.split():
    env = getattr(envs, name)()
    env.action_space.seed(0)
    seen = set()
    for seed in range(20):
        env.reset(seed=seed)
        for step in range(1, 1001):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                break
        seen.add((step, "terminated" if terminated else "truncated"))
    assert len(seen) == 1, (name, seen)
    length, ends[name] = seen.pop()
    print(f"{name:25} {length:4} {ends[name]}")

assert list(ends.values()) == ["terminated"] * 5 + ["truncated"] * 3
PYTHON
