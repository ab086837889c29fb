"""Real experience for a world model, from random actions or from an agent that explores."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
from gymnasium.vector.utils import batch_space

from ..envs.make import EnvSpec, make_envs
from ..world_models.episodes import Episode, Episodes, Recorder
from .evaluate import Actor


class RandomActor:
    """Draws actions from their space; without bounds, from a normal distribution."""

    def __init__(self, action_space: Any, num_envs: int, seed: int):
        self.space = batch_space(action_space, num_envs)
        self.space.seed(seed)

    def initial_state(self, num_envs: int) -> np.ndarray:
        """No memory."""
        return np.zeros((num_envs, 0), np.float32)

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw `[B, ...]`."""
        return np.asarray(self.space.sample()), state


def collect_episodes(spec: EnvSpec, steps: int, actor: Actor | None = None) -> tuple[Episodes, list[float]]:
    """Act for at most `steps` real steps, summed over environments, and never one more.

    Returns:
        What was seen, running episodes cut off at the end; and the returns of the episodes that ended.
    """
    episodes: list[Episode] = []
    returns: list[float] = []
    with closing(make_envs(spec)) as envs:
        recorder = Recorder(envs.num_envs)
        chosen = actor or RandomActor(envs.action_space, envs.num_envs, spec.seed)
        obs, first = envs.reset(), np.ones(envs.num_envs, bool)
        state, count = chosen.initial_state(envs.num_envs), 0
        while count + envs.num_envs <= steps:
            action, state = chosen.act(obs, state, first, True)
            step = envs.step(action)
            episodes += recorder.add(
                obs, action, step.reward, step.terminated, step.truncated, step.next_obs, step.valid
            )
            returns += [episode.episode_return for episode in step.episodes]
            obs, first = step.obs, step.first
            count += envs.num_envs
        episodes += recorder.cut()
    return Episodes(episodes), returns
