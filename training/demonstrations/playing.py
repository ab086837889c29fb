"""Demonstrations played back, as if their steps were being made: what an agent learns from that watches a teacher."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...agents.agent import Agent, Transition, named_generator
from ...agents.bc import BC
from ...agents.storage.sequences import Sequence
from ...envs.vector import Envs, Episode
from ...networks.tree import tree_map
from ...world_models.datasets import EpisodeDataset
from ..settings.config import RunConfig
from .steps import FlatEpisodes
from .storage import load_demonstrations


def make_player(config: RunConfig, agent: Agent, envs: Envs) -> DemonstrationPlayer:
    """Return what plays the demonstrations of a run's config to its agent.

    Raises:
        UsageError: there are none, they are damaged, or they do not fit the environment.
    """
    spaces = envs.observation_space, envs.action_space
    episodes = load_demonstrations(config.data, *spaces, limit=config.episodes)
    if isinstance(agent, BC):
        held_out = int(config.agent_config.held_out_share * len(episodes))
        episodes, others = split(episodes, held_out)
        if len(others):
            agent.hold_out(columns(others))
    return DemonstrationPlayer(episodes, agent, envs, config.num_envs, config.seed)


def split(episodes: EpisodeDataset, held_out: int) -> tuple[EpisodeDataset, EpisodeDataset]:
    """Episodes to learn from, and the last `held_out` ones."""
    kept = len(episodes) - held_out
    return EpisodeDataset(episodes.episodes[:kept]), EpisodeDataset(episodes.episodes[kept:])


def columns(episodes: EpisodeDataset) -> Sequence:
    """Whole episodes side by side `[T, N, ...]`, short ones padded with their last step."""
    lengths = np.array([episode.length for episode in episodes.episodes])
    steps = np.arange(lengths.max())[:, None]
    row = np.minimum(steps, lengths - 1) + (np.cumsum(lengths) - lengths)
    valid = steps < lengths
    last = steps == lengths - 1
    terminated = last & np.array([episode.terminated for episode in episodes.episodes])
    rows = FlatEpisodes(episodes)
    return Sequence(
        obs=tree_map(lambda x: x[rows.obs_row[row]], rows.obs),
        first=np.broadcast_to(steps == 0, valid.shape).copy(),
        action=tree_map(lambda x: x[row], rows.action),
        reward=rows.reward[row],
        terminated=terminated,
        truncated=last & ~terminated,
        valid=valid,
        state=np.zeros((*valid.shape, 0), np.float32),
    )


class DemonstrationPlayer:
    """Steps of demonstrations for an agent, one Transition at a time; it can be saved and restored.

    Every step is played once before any is played again, in a new order each time. Without a memory single steps are
    shuffled. With one, every column plays whole episodes, the first from a random step on (otherwise columns that begin
    the same episode would stay together), and the agent's memory follows what the teacher saw.
    """

    def __init__(self, episodes: EpisodeDataset, agent: Agent, envs: Envs, num_columns: int, seed: int):
        self.episodes = episodes
        self.agent = agent
        self.envs = envs
        self.steps = FlatEpisodes(episodes)
        self.state = agent.initial_state(num_columns)
        self.in_order = self.state.shape[1] > 0
        count = len(self.steps.reward)
        # What is played in one piece.
        self.starts = self.steps.starts if self.in_order else np.arange(count)
        self.ends = self.steps.ends if self.in_order else self.starts + 1
        self.generator = named_generator(seed, "demonstrations")
        self.order = np.zeros(0, np.int64)
        """Pieces that are still to come before all have been played."""
        self.row, self.end = np.zeros((2, num_columns), np.int64)
        self.first = np.full(num_columns, self.in_order)
        self._deal(np.ones(num_columns, bool))
        if self.in_order:
            self.row = self.generator.integers(self.row, self.end)

    def _deal(self, columns: np.ndarray) -> None:
        """Give columns `[B]` their next piece."""
        needed = int(np.count_nonzero(columns))
        while len(self.order) < needed:
            self.order = np.concatenate([self.order, self.generator.permutation(len(self.starts))])
        pieces, self.order = self.order[:needed], self.order[needed:]
        self.row[columns], self.end[columns] = self.starts[pieces], self.ends[pieces]

    def step(self) -> tuple[Transition, list[Episode]]:
        """Return the next step of every column; the agent's own episodes end only where it acts, so there are none."""
        steps, row, first, state = self.steps, self.row, self.first, self.state
        obs_row = steps.obs_row[row]
        obs = tree_map(lambda x: x[obs_row], steps.obs)
        next_state = self.agent.act(obs, state, first, explore=False)[1] if self.in_order else state
        transition = Transition(
            obs=obs,
            action=tree_map(lambda x: x[row], steps.action),
            reward=steps.reward[row],
            terminated=steps.terminated[row],
            truncated=steps.truncated[row],
            next_obs=tree_map(lambda x: x[obs_row + 1], steps.obs),
            first=first,
            state=state,
            next_state=next_state if self.in_order else None,
        )
        self.row = row + 1
        over = self.row == self.end
        self._deal(over)
        self.first = over & self.in_order
        self.state = next_state
        return transition, []

    def summary(self, steps: int) -> str:
        """How much there is to learn from, and how often that is learned from in so many steps."""
        passes = steps / len(self.steps)
        return f"{self.steps.summary('learn from')}; {steps:,} steps are {passes:.1f} passes over them"

    def state_dict(self) -> dict[str, Any]:
        """Where each column is, and the agent's memory; the demonstrations stay where they are."""
        return {
            **self.steps.state_dict(),
            "row": self.row,
            "end": self.end,
            "first": self.first,
            "order": self.order,
            "memory": self.state,
            "generator": self.generator.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            CheckpointCorruptError: the demonstrations are others than they were.
        """
        self.steps.load_state_dict(state)
        self.row, self.end, self.first = (np.array(state[name]) for name in ("row", "end", "first"))
        self.order, self.state = np.array(state["order"]), np.array(state["memory"])
        self.generator.bit_generator.state = state["generator"]
