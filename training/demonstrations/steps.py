"""The steps of demonstrations, whoever learns from them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ...networks.tree import concatenated, fingerprint, tree_leaves
from ...world_models.datasets import EpisodeDataset
from ..run.storage.checkpoint import CheckpointCorruptError
from ..tracking.return_text import return_text


class FlatEpisodes:
    """All steps of some episodes one after another `[N, ...]`; the observation of step `n` is row `obs_row[n]`.

    A checkpoint holds only what they are known by: a run goes on with the same ones.
    """

    def __init__(self, episodes: EpisodeDataset):
        lengths = np.array([episode.length for episode in episodes.episodes])
        self.episodes = episodes
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths
        self.obs = concatenated([episode.obs for episode in episodes.episodes])
        self.action = concatenated([episode.action for episode in episodes.episodes])
        self.reward = concatenated([episode.reward for episode in episodes.episodes])
        # One observation more than steps for each episode before.
        self.obs_row = np.arange(lengths.sum()) + np.repeat(np.arange(len(lengths)), lengths)
        self.terminated, self.truncated = np.zeros((2, len(self.reward)), bool)
        over = np.array([episode.terminated for episode in episodes.episodes])
        self.terminated[self.ends - 1], self.truncated[self.ends - 1] = over, ~over

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def num_bytes(self) -> int:
        """Bytes of them, each of which is kept twice: by itself and among all."""
        return 2 * sum(leaf.nbytes for leaf in tree_leaves((self.obs, self.action, self.reward)))

    def summary(self, purpose: str) -> str:
        """How many there are for a purpose, and how good they are."""
        returns = [float(episode.reward.sum(dtype=np.float64)) for episode in self.episodes.episodes]
        return (
            f"{len(self.episodes)} demonstrations to {purpose}, {len(self):,} steps, mean return "
            f"{return_text(float(np.mean(returns)))}"
        )

    @cached_property
    def fingerprint(self) -> str:
        """What they are known by."""
        return fingerprint((self.obs, self.action, self.ends))

    def state_dict(self) -> dict[str, Any]:
        """Their fingerprint; they themselves stay where they are."""
        return {"fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make sure that they are the same.

        Raises:
            CheckpointCorruptError: they are not.
        """
        if state["fingerprint"] != self.fingerprint:
            raise CheckpointCorruptError(
                "the demonstrations have changed since the run began; put them back, or begin a new run"
            )
