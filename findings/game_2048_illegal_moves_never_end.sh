#!/usr/bin/env bash
# gymnasium-2048 0.1.2 with gymnasium 1.3.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: an episode ends, by the game's end or by a time limit, for
# every policy.
#
# Behaviour: a move that changes nothing is accepted with reward 0 and spawns no
# tile, so the state is the same again; there is no time limit (max_episode_steps
# is None). A deterministic policy (greedy evaluation) that prefers an illegal move
# once is caught for good: an evaluation "until 10 episodes have ended" never is
# over. The game is not lost: another move is legal. Only the package's optional
# wrapper TerminateIllegal ends it.
#
# Seen:
#   max_episode_steps: None
#   policy 'up': 5000 steps, terminated False, truncated False, illegal moves 4999
#   one step to the right afterwards is legal: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium-2048==0.1.2 gymnasium==1.3.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import gymnasium_2048

env = gym.make("gymnasium_2048/TwentyFortyEight-v0")
print("max_episode_steps:", env.spec.max_episode_steps)
env.reset(seed=0)
for step in range(1, 5001):
    _, reward, terminated, truncated, info = env.step(0)
    if terminated or truncated:
        break
illegal = info["illegal_count"]
print(f"policy 'up': {step} steps, terminated {terminated}, truncated {truncated}, illegal moves {illegal}")
legal = env.step(1)[4]["is_legal"]
print("one step to the right afterwards is legal:", legal)

assert env.spec.max_episode_steps is None
assert step == 5000 and not terminated and not truncated and illegal > 4900
assert legal
PYTHON
