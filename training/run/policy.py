"""A trained agent for other programs, with the interface of Stable-Baselines3's `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ...envs.actions import action_clipper
from ...networks.tree import copy_in_order, read_row, tree_leaves, tree_map
from ...networks.vectors import leaf_spaces
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
    ) -> tuple[Any, np.ndarray]:
        """Choose actions for one observation or a batch `[B, ...]`.

        Args:
            observation: as the environment (or a vector of them) gives it, keys in any order.
            state: what the last call returned, None at the start.
            episode_start: `[B]`, where an episode begins; None means only where `state` is None.
            deterministic: take the best action instead of exploring.

        Returns:
            Actions of the action space (dicts and tuples of arrays where it nests), within its bounds, and the state
            for the next call.
        """
        obs = copy_in_order(self.observation_space, observation)
        leaf, shape = tree_leaves(obs)[0], leaf_spaces(self.observation_space)[0].shape
        single = leaf.ndim == len(shape or ())
        if single:
            obs = tree_map(lambda x: x[None], obs)
        num_envs = len(tree_leaves(obs)[0])
        begins = (
            np.full(num_envs, state is None) if episode_start is None else np.asarray(episode_start, bool)
        )
        memory = self.agent.initial_state(num_envs) if state is None else state
        action, memory = self.agent.act(obs, memory, begins.reshape(num_envs), explore=not deterministic)
        action = action_clipper(self.action_space, num_envs)(action)
        return (read_row(action, 0) if single else action), memory


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
