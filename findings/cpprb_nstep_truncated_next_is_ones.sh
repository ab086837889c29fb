#!/usr/bin/env bash
# cpprb 11.0.0 with numpy 2.4.6, Python 3.11
# Date: 2026-12-01
#
# A user would expect: an N-step replay buffer keeps, for each transition, the observation
# that its sum of rewards leads to. Near the end of an episode that was cut off that is the
# last one: its value is to be bootstrapped. on_episode_end() is documented for this case
# ("moving remaining Nstep buffer transitions ... since episode exploration can be
# terminated at certain length even though any done flags from environment is not set").
#
# Behaviour: the local buffer of N-1 transitions never stores the "next" values. What
# on_episode_end() moves has those that the array was filled with when it was made: ones.
# With done 0, N-1 transitions of each truncated episode (all of one that is shorter) are
# bootstrapped from an observation that no environment has shown, with no warning. Their
# sums have fewer rewards too, and nothing tells how many (gamma**N is said to be "fixed").
#
# Seen (observations count from 1000; an episode of 5 steps and one of 2, both cut off; each
# step pays 1; gamma 0.5):
#   1 step:  next_obs 1001 1002 1003 1004 1005 2001 2002
#   3 steps: next_obs 1003 1004 1005 1 1 1 1
#            rew      1.75 1.75 1.75 1.5 1 1.5 1
#            done     0 0 0 0 0 0 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cpprb==11.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from cpprb import ReplayBuffer

PARTS = {"obs": {"shape": 1}, "next_obs": {"shape": 1}, "rew": {}, "done": {}}


def stored(**options):
    buffer = ReplayBuffer(100, {name: dict(part) for name, part in PARTS.items()}, **options)
    for start, length in ((1000, 5), (2000, 2)):
        for step in range(length):
            buffer.add(obs=start + step, next_obs=start + step + 1, rew=1.0, done=0.0)
        buffer.on_episode_end()
    return {name: values[:, 0].tolist() for name, values in buffer.get_all_transitions().items()}


def shown(values):
    return " ".join(f"{value:g}" for value in values)


one = stored()
three = stored(Nstep={"size": 3, "gamma": 0.5, "rew": "rew", "next": "next_obs"})
print("1 step:  next_obs", shown(one["next_obs"]))
print("3 steps: next_obs", shown(three["next_obs"]))
print("         rew     ", shown(three["rew"]))
print("         done    ", shown(three["done"]))

assert one["obs"] == three["obs"] == [1000, 1001, 1002, 1003, 1004, 2000, 2001]
assert one["next_obs"] == [1001, 1002, 1003, 1004, 1005, 2001, 2002]
assert three["next_obs"] == [1003, 1004, 1005, 1, 1, 1, 1]
assert three["rew"] == [1.75, 1.75, 1.75, 1.5, 1, 1.5, 1]
assert three["done"] == [0] * 7
PYTHON
