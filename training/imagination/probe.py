"""True states behind observations: what a linear map should find again in a latent."""

from __future__ import annotations

from collections import deque
from contextlib import closing

import numpy as np

from ...envs.make import EnvSpec, make_single
from ...envs.registry import find_environment
from ...envs.tasks.task import TaskEnv

PROBE_SEED = 3_000_000
PROBE_STEPS = 3000


def true_states(spec: EnvSpec, steps: int = PROBE_STEPS) -> tuple[np.ndarray, np.ndarray] | None:
    """Play at random; returns observations `[steps, ...]`, as agents get them, and states `[steps, S]`.

    None where the environment is none of ours, and says nothing of its state.
    """
    with closing(make_single(spec, find_environment(spec.id))) as env:
        world = env.unwrapped
        if not isinstance(world, TaskEnv):
            return None
        observations: list[np.ndarray] = []
        states: list[np.ndarray] = []
        frames: deque[np.ndarray] = deque(maxlen=spec.frame_stack)
        env.action_space.seed(PROBE_SEED)
        obs, done = env.reset(seed=PROBE_SEED)[0], False
        frames.extend([obs] * spec.frame_stack)
        while len(observations) < steps:
            if done:
                obs = env.reset()[0]
                frames.extend([obs] * spec.frame_stack)
            observations.append(np.stack(frames) if spec.frame_stack > 1 else obs)
            states.append(world.task.state(world.worlds)[0])
            obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
            frames.append(obs)
            done = terminated or truncated
    return np.stack(observations), np.stack(states).astype(np.float32)
