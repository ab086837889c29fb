"""A trained agent for other programs, with the interface of Stable-Baselines3's `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.tree import tree_leaves, tree_map
from ..settings.trust import trusting
from .evaluate import Actor
from .loaded import load_run


class LoadedPolicy:
    """An agent that only acts."""

    def __init__(self, agent: Actor, observation_space: spaces.Space, action_space: spaces.Space):
        self.agent = agent
        self.observation_space = observation_space
        self.action_space = action_space

    def predict(
        self,
        observation: Any,
        state: np.ndarray | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose actions for one observation or a batch `[B, ...]`.

        Args:
            observation: as the environment (or a vector of them) gives it.
            state: what the last call returned, None at the start.
            episode_start: `[B]`, where an episode begins; None means only where `state` is None.
            deterministic: take the best action instead of exploring.

        Returns:
            Actions within the action space's bounds, and the state for the next call.
        """
        example = tree_leaves(self.observation_space.sample())[0]
        single = np.ndim(tree_leaves(observation)[0]) == np.ndim(example)
        obs = tree_map(lambda x: np.asarray(x)[None], observation) if single else observation
        num_envs = len(tree_leaves(obs)[0])
        begins = (
            np.full(num_envs, state is None) if episode_start is None else np.asarray(episode_start, bool)
        )
        memory = self.agent.initial_state(num_envs) if state is None else state
        action, memory = self.agent.act(obs, memory, begins.reshape(num_envs), explore=not deterministic)
        if isinstance(self.action_space, spaces.Box):
            action = np.clip(action, self.action_space.low, self.action_space.high)
        return (action[0] if single else action), memory


def load_policy(run_dir: Path | str, trust: bool = False) -> LoadedPolicy:
    """Load what a run has learned; see `LoadedPolicy.predict`.

    Args:
        run_dir: folder of the run.
        trust: import what the folder names even where it is neither ours nor registered by an installed package.

    Raises:
        UsageError: it is no run, or it names such code and `trust` is False.
    """
    with trusting(everything=trust):
        run = load_run(Path(run_dir))
    return LoadedPolicy(run.agent, run.observation_space, run.action_space)
