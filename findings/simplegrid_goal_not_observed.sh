#!/usr/bin/env bash
# gym-simplegrid 1.1.0 with gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: the registered task SimpleGrid-4x4-v0 has a goal that stays
# (as in FrozenLake), or one that the agent observes.
#
# Behaviour: reset() draws start and goal anew each time; neither observation nor
# info tells the goal, so one observation and one action end one episode with +1
# and do not end another. Start and goal may be one cell: that episode starts at
# its goal and goes on.
#
# Seen:
#   200 resets: 12 goals, keys of info: ['agent_xy', 'step_count']
#   episodes that start at their goal: 16
#   one observation, one action, two outcomes: ((0, 4), {(1.0, True), (-0.1, False)})
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gym-simplegrid==1.1.0 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import gym_simplegrid

env = gym.make("SimpleGrid-4x4-v0")
goals, same, outcomes = set(), 0, {}
for seed in range(200):
    observation, info = env.reset(seed=seed)
    task = env.unwrapped
    goals.add(task.goal_xy)
    at_goal = task.start_xy == task.goal_xy
    same += at_goal
    after, reward, terminated, _, _ = env.step(1)
    outcomes.setdefault((observation, after), set()).add((reward, terminated))
print(f"200 resets: {len(goals)} goals, keys of info: {sorted(info)}")
print("episodes that start at their goal:", same)
ambiguous = {key: value for key, value in outcomes.items() if len(value) > 1}
print("one observation, one action, two outcomes:", min(ambiguous.items()))

assert len(goals) > 5 and sorted(info) == ["agent_xy", "step_count"]
assert same > 0 and ambiguous
PYTHON
