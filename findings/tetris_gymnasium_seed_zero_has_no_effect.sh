#!/usr/bin/env bash
# tetris-gymnasium 0.3.1 with gymnasium 1.4.0, numpy 2.4.6, opencv-python-headless 4.14.0.94, Python 3.11
# Date: 2026-11-30
#
# A user would expect: reset(seed=0) makes an episode that can be repeated, as with any
# other seed: Gymnasium takes every integer that is not negative, and the docstring of
# reset() says that the seed is used for the random number generator.
#
# Behaviour: seed 0 is taken for no seed. In a new copy the pieces then come from a
# generator that the operating system seeds; in a copy that was reset before they go on
# from where its generator was. All other seeds work, so that a check with one of them
# finds the environment reproducible, while a run with seed 0 can not be repeated.
#
# Seen (different first observations among those of ten copies):
#   seed 0: 10
#   seed 1: 1
#   seed 0 twice in one copy: the same False; seed 1 twice: the same True
#   seed 0 after seed 1 and after seed 2: the same False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.4.6 opencv-python-headless==4.14.0.94
"$folder/venv/bin/pip" install --quiet --no-deps tetris-gymnasium==0.3.1  # the others are for its form in JAX
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import tetris_gymnasium.envs  # registers the environment


def start(env, seed):
    observation, _ = env.reset(seed=seed)
    return b"".join(observation[key].tobytes() for key in sorted(observation))


def copy():
    return gym.make("tetris_gymnasium/Tetris")


different = {seed: len({start(copy(), seed) for _ in range(10)}) for seed in (0, 1)}
for seed, number in different.items():
    print(f"seed {seed}: {number}")


def twice(seed):
    """Ten pairs, since two draws of the pieces can agree by chance."""
    env = copy()
    return all(start(env, seed) == start(env, seed) for _ in range(10))


def after(seed):
    env = copy()
    start(env, seed)
    return start(env, 0)


print(f"seed 0 twice in one copy: the same {twice(0)}; seed 1 twice: the same {twice(1)}")
print("seed 0 after seed 1 and after seed 2: the same", after(1) == after(2))

assert different[0] > 1 and different[1] == 1
assert not twice(0) and twice(1)
assert after(1) != after(2) and after(1) == after(1)
PYTHON
