"""True states behind observations: what a linear map should find again in a latent."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...agents.agent import Agent
from ...agents.storage.sequences import to_tensors
from ...envs.make import EnvSpec, make_single
from ...envs.registry import find_environment
from ...envs.tasks.task import TaskEnv
from ...networks.torso import Torso
from ...world_models.model_evaluation import probe_r2
from ..run.build import env_spec
from ..run.loaded import load_run
from ..settings.usage import UsageError

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


def mode_shares(spec: EnvSpec, obs: Any, action: Any, real: Any, drawn: Any) -> dict[str, dict[str, float]]:
    """Of real steps and of drawn ones, the shares that lie between the task's two ways, and that went the rarer one.

    Empty where there are no two ways, or the environment is none of ours.
    """
    with closing(make_single(spec, find_environment(spec.id))) as env:
        world = env.unwrapped
        if not isinstance(world, TaskEnv):
            return {}
        report = {}
        for name, next_obs in {"real": real, "drawn": drawn}.items():
            modes = world.task.mode(obs, action, next_obs)
            if modes is None:
                return {}
            between, left, right = ((modes == mode).mean() for mode in (0, -1, 1))
            report[name] = {"between": float(between), "rarer": float(min(left, right))}
        return {
            f"modes_{what}": {name: each[what] for name, each in report.items()}
            for what in ("between", "rarer")
        }


def probe_run(run_dir: Path) -> float:
    """R2 of the true states, mean over their numbers, by a linear map from the features of a run's first encoder.

    States are of random play; the map is fitted to the first 70 % of the steps and evaluated on the others. The first
    encoder is that of the policy, or of the values where there is no other.

    Raises:
        UsageError: the true state is not known, or the agent has no encoder of ours.
    """
    run = load_run(run_dir)
    pairs = true_states(env_spec(run.config))
    if pairs is None:
        raise UsageError(f"--probe: {run.config.env} says nothing of its true state; environments of ours do")
    torso = first_torso(run.agent)
    if torso is None:
        raise UsageError(f"--probe: {run.config.agent} has no encoder of ours")
    obs, states = to_tensors(pairs, next(torso.parameters()).device)
    with torch.no_grad():
        features = torso.encoder(obs)
    cut = int(0.7 * len(states))
    return probe_r2(features[:cut], states[:cut], features[cut:], states[cut:])


def first_torso(agent: object) -> Torso | None:
    """The first torso among an agent's parts; None for what is no agent of ours."""
    if not isinstance(agent, Agent):
        return None
    parts = (part for part in agent.parts().values() if isinstance(part, nn.Module))
    return next((module for part in parts for module in part.modules() if isinstance(module, Torso)), None)
