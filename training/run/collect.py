"""Stepping an agent, or random actions, together with environments: the start of training, and of world models."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector.utils import batch_space

from ...agents.agent import Transition
from ...envs.make import EnvSpec, make_envs
from ...envs.vector import Envs
from ...envs.vector import Episode as Ended
from ...networks.tree import tree_map
from ...world_models.datasets import EpisodeDataset, EpisodeRecorder, RecordedEpisode
from .evaluate import Actor
from .storage.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint


class Collector:
    """Steps an agent and its environments together, one Transition at a time; it can be saved and restored."""

    def __init__(self, agent: Actor, envs: Envs, explore: bool = True):
        self.agent = agent
        self.envs = envs
        self.explore = explore
        self.obs = envs.reset()
        self.first = np.ones(envs.num_envs, bool)
        self.state = agent.initial_state(envs.num_envs)

    def step(self) -> tuple[Transition, list[Ended]]:
        """Act once in every environment; returns what happened and the episodes that ended."""
        obs, first, state = self.obs, self.first, self.state
        action, next_state = self.agent.act(obs, state, first, self.explore)
        result = self.envs.step(action)
        self.obs, self.first, self.state = result.obs, result.first, next_state
        transition = Transition(
            obs=obs,
            action=action,
            reward=result.reward,
            terminated=result.terminated,
            truncated=result.truncated,
            next_obs=result.next_obs,
            first=first,
            state=state,
            next_state=self.state,
            valid=result.valid,
        )
        return transition, result.episodes

    def state_dict(self) -> dict[str, Any]:
        """Place of the environments and the agent's memory."""
        return {"envs": self.envs.state_dict(), "memory": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring the environments back to where they were."""
        self.envs.load_state_dict(state["envs"])
        self.obs, self.first, self.state = self.envs.obs, self.envs.first, state["memory"]


class Recording:
    """Steps of `num_envs` environments, kept as the episodes that a world model learns from."""

    def __init__(self, num_envs: int):
        self.recorder = EpisodeRecorder(num_envs)
        self.ended: list[RecordedEpisode] = []
        self.returns: list[float] = []
        """Of the episodes that ended."""

    def add(self, transition: Transition, ended: list[Ended]) -> None:
        """Take what one step of a collector returns."""
        obs, action, reward = transition.obs, transition.action, transition.reward
        ends = (transition.terminated, transition.truncated, transition.next_obs)
        self.ended += self.recorder.add(obs, action, reward, *ends, transition.valid, transition.first)
        self.returns += [episode.episode_return for episode in ended]

    def episodes(self) -> EpisodeDataset:
        """Everything so far, running episodes cut off here."""
        return EpisodeDataset(self.ended + self.recorder.cut())


def save_episodes(folder: Path, step: int, episodes: EpisodeDataset) -> None:
    """Write episodes into a folder, in place of those there."""
    save_checkpoint(folder, step, {"episodes": episodes}, keep=1)


def load_episodes(folder: Path, only_these: bool = False) -> EpisodeDataset:
    """Read the episodes of a folder; with `only_these` a checkpoint may hold other things beside them.

    Raises:
        UsageError: there are none, or they are damaged.
    """
    episodes = EpisodeDataset()
    load_checkpoint(latest_checkpoint(folder), {"episodes": episodes}, only_these)
    return episodes


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
    ) -> tuple[Any, np.ndarray]:
        """Draw `[B, ...]`; an agent's memory goes through as it was, for the agent to go on with."""
        return tree_map(np.asarray, self.space.sample()), state


def collect_episodes(
    spec: EnvSpec, steps: int, actor: Actor | None = None
) -> tuple[EpisodeDataset, list[float]]:
    """Act in new environments, at random by default, as `record` does."""
    with closing(make_envs(spec)) as envs:
        return record(
            Collector(actor or RandomActor(envs.action_space, envs.num_envs, spec.seed), envs), steps
        )


def record(
    collector: Collector, steps: int, signals: Sequence[int] = ()
) -> tuple[EpisodeDataset, list[float]]:
    """Act for at most `steps` real steps, summed over environments, and never one more; fewer where a signal comes.

    Returns:
        The episodes, running ones cut off at the end, where the next call goes on with them; and the returns of those
        that ended.
    """
    recording = Recording(collector.envs.num_envs)
    for _ in range(steps // collector.envs.num_envs):
        if signals:
            break
        recording.add(*collector.step())
    return recording.episodes(), recording.returns
