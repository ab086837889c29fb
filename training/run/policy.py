"""A trained agent for other programs, with the interface of Stable-Baselines3's `predict`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from ...envs.actions import action_clipper
from ...networks.tree import (
    UnfitValueError,
    copy_in_order,
    read_row,
    tree_leaves,
    tree_like,
    tree_map,
    typed_as,
)
from ...networks.vectors import leaf_spaces
from ..settings.usage import in_one_line
from .evaluate import Actor


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

        Raises:
            ValueError: the observation or the state is none of the policy's.
        """
        obs, single = fitting(self.observation_space, observation)
        num_envs = len(tree_leaves(obs)[0])
        if state is not None and len(state) != num_envs:
            raise UnfitValueError(f"a state of {len(state)} copies was given with observations of {num_envs}")
        begins = (
            np.full(num_envs, state is None) if episode_start is None else np.asarray(episode_start, bool)
        )
        memory = self.agent.initial_state(num_envs) if state is None else state
        action, memory = self.agent.act(obs, memory, begins.reshape(num_envs), explore=not deterministic)
        action = action_clipper(self.action_space, num_envs)(action)
        return (read_row(action, 0) if single else action), memory


def fitting(space: spaces.Space, observation: Any) -> tuple[Any, bool]:
    """One observation, or a batch of them, as a batch in the types of its space; and whether it was one.

    Raises:
        UnfitValueError: it is of another shape, holds what its type cannot, or what is no number.
    """
    try:
        obs = copy_in_order(space, observation)
    except (KeyError, TypeError, IndexError) as error:
        raise UnfitValueError(
            f"an observation was given that lacks a part of {in_one_line(space)}: {error}"
        ) from None
    parts = leaf_spaces(space)
    leaves = tree_leaves(obs)
    single = leaves[0].ndim == len(parts[0].shape or ())
    for leaf, part in zip(leaves, parts, strict=True):
        shape = part.shape or ()
        if leaf.shape[0 if single else 1 :] != shape or leaf.ndim != len(shape) + (not single):
            raise UnfitValueError(
                f"an observation of shape {leaf.shape} was given; the policy's are {shape}, or [B, ...] for several, "
                "with what the run's wrappers do to them (--frame-stack, --show-previous)"
            )
        if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
            raise UnfitValueError("an observation was given that is not finite")
    typed = tree_like(obs, map(typed_as, parts, leaves))
    return tree_map(lambda leaf: leaf[None] if single else leaf, typed), single
