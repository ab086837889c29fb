"""Real experience to learn from: whole episodes, or pieces of them, each observation stored once.

World models learn from these, and `palaestra record` writes them as demonstrations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..networks.tree import concatenated, read_row, tree_leaves, tree_map

# Observations of episodes that take more on average are saved as they lie, not joined to one array first.
LARGE_EPISODE = 2**18


class RecordedEpisode(NamedTuple):
    """`L` consecutive steps of one environment."""

    obs: Any
    """`[L + 1, ...]`, the successor of the last step included; nested as their space."""
    action: Any
    """`[L, ...]`, as the environment took it; nested as its space."""
    reward: np.ndarray
    """`[L]` float32."""
    terminated: bool
    """The last step ended the task; otherwise the episode was only cut off there."""
    opens: bool = True
    """The first step began an episode; otherwise one goes on there that had been cut off."""

    @property
    def length(self) -> int:
        """Number of steps."""
        return len(self.reward)


class EpisodeDataset:
    """Episodes in the order in which they ended; every tenth is held out, and never learned from.

    Observation rows count the observations of all episodes one after the other.
    """

    HELD_OUT_EVERY = 10

    def __init__(self, episodes: Sequence[RecordedEpisode] = ()):
        self.episodes = list(episodes)

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def num_steps(self) -> int:
        """Real steps, summed over episodes."""
        return sum(episode.length for episode in self.episodes)

    @property
    def num_terminated(self) -> int:
        """Episodes that terminated."""
        return sum(episode.terminated for episode in self.episodes)

    def add(self, episodes: Sequence[RecordedEpisode]) -> None:
        """Append episodes."""
        self.episodes += episodes

    def split(self) -> tuple[EpisodeDataset, EpisodeDataset]:
        """Episodes to learn from, and held-out ones; with only one, both are the same.

        The fourth of every ten is held out, so that a growing collection never moves an episode from one side to
        the other. Where there are fewer than four, the last one is. All pieces of an episode are on the same side.
        """
        numbers = self._episode_numbers()
        last = max(numbers, default=0)
        if last == 0:
            return self, self
        sides: tuple[list[RecordedEpisode], list[RecordedEpisode]] = ([], [])
        for episode, number in zip(self.episodes, numbers, strict=True):
            sides[number % self.HELD_OUT_EVERY == min(3, last)].append(episode)
        return EpisodeDataset(sides[0]), EpisodeDataset(sides[1])

    def _episode_numbers(self) -> list[int]:
        """Number of the real episode that each piece belongs to, by the first pieces' order.

        A piece goes on with the one that was cut off at the observation that it begins with.
        """
        numbers: list[int] = []
        cut: dict[bytes, int] = {}
        following = 0
        for episode in self.episodes:
            number = None if episode.opens else cut.pop(_bytes_of(episode.obs, 0), None)
            if number is None:
                number, following = following, following + 1
            if not episode.terminated:
                cut[_bytes_of(episode.obs, -1)] = number
            numbers.append(number)
        return numbers

    @property
    def num_observations(self) -> int:
        """Observation rows: one more than steps for each episode."""
        return self.num_steps + len(self)

    def observations(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Copy of the observations `[N, ...]` at `rows [N]`, of all of them by default; none that nest."""
        if rows is None:
            return np.concatenate([episode.obs for episode in self.episodes])
        starts = np.cumsum([0, *(len(episode.obs) for episode in self.episodes)])
        index = np.searchsorted(starts, rows, side="right") - 1
        found = np.empty((len(rows), *self.episodes[0].obs.shape[1:]), self.episodes[0].obs.dtype)
        for row, (episode, offset) in enumerate(zip(index, rows - starts[index], strict=True)):
            found[row] = self.episodes[episode].obs[offset]
        return found

    def state_dict(self) -> dict[str, Any]:
        """One array for each field of the episodes; of large ones (pictures) the observations of each, as they lie."""
        if not self.episodes:
            return {"lengths": []}
        return {
            "lengths": [episode.length for episode in self.episodes],
            "terminated": [episode.terminated for episode in self.episodes],
            "opens": [episode.opens for episode in self.episodes],
            "obs": (
                [episode.obs for episode in self.episodes]
                if self._are_large
                else concatenated([episode.obs for episode in self.episodes])
            ),
            "action": concatenated([episode.action for episode in self.episodes]),
            "reward": concatenated([episode.reward for episode in self.episodes]),
        }

    @property
    def _are_large(self) -> bool:
        leaves = (leaf for episode in self.episodes for leaf in tree_leaves(episode.obs))
        return sum(leaf.nbytes for leaf in leaves) > LARGE_EPISODE * len(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.episodes = []
        row, each = 0, isinstance(state.get("obs"), list)
        for index, length in enumerate(state["lengths"]):
            steps = slice(row, row + length)
            obs_rows = slice(row + index, row + index + length + 1)
            ended = bool(state["terminated"][index])
            opens = bool(state["opens"][index]) if "opens" in state else True  # older data do not say
            obs = state["obs"][index] if each else tree_map(lambda x, rows=obs_rows: x[rows], state["obs"])
            action = tree_map(lambda x, rows=steps: x[rows], state["action"])
            self.episodes.append(RecordedEpisode(obs, action, state["reward"][steps], ended, opens))
            row += length


def _bytes_of(obs: Any, row: int) -> bytes:
    return b"".join(leaf[row].tobytes() for leaf in tree_leaves(obs))


class EpisodeRecorder:
    """Turns steps of `num_envs` environments into episodes."""

    def __init__(self, num_envs: int):
        self._rows: list[list[tuple[Any, Any, float]]] = [[] for _ in range(num_envs)]
        self._last: list[Any] = [None] * num_envs
        self._opens = [True] * num_envs

    def add(
        self,
        obs: Any,
        action: Any,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        next_obs: Any,
        valid: np.ndarray | None = None,
        first: np.ndarray | None = None,
    ) -> list[RecordedEpisode]:
        """Take one step of all environments, arrays `[B, ...]`; returns the episodes that ended with it.

        `first` says which `obs` open an episode; without it those do that come after an end, and the very first.
        """
        ended = []
        for i, rows in enumerate(self._rows):
            if valid is not None and not valid[i]:
                continue
            if not rows and first is not None:
                self._opens[i] = bool(first[i])
            rows.append((_row(obs, i), _row(action, i), float(reward[i])))
            self._last[i] = _row(next_obs, i)
            if terminated[i] or truncated[i]:
                ended.append(self._finish(i, bool(terminated[i]), next_opens=True))
        return ended

    def cut(self) -> list[RecordedEpisode]:
        """End the running episodes here, as cut off; returns them."""
        return [self._finish(i, False, next_opens=False) for i, rows in enumerate(self._rows) if rows]

    def _finish(self, index: int, terminated: bool, next_opens: bool) -> RecordedEpisode:
        rows, self._rows[index] = self._rows[index], []
        opens, self._opens[index] = self._opens[index], next_opens
        obs = tree_map(single_precision, _stacked([row[0] for row in rows] + [self._last[index]]))
        reward = np.array([row[2] for row in rows], np.float32)
        return RecordedEpisode(obs, _stacked([row[1] for row in rows]), reward, terminated, opens)


def single_precision(x: np.ndarray) -> np.ndarray:
    """Float64 as float32, which is what networks compute in; everything else as it is."""
    return x.astype(np.float32) if x.dtype == np.float64 else x


def _row(batch: Any, index: int) -> Any:
    return tree_map(np.copy, read_row(batch, index))


def _stacked(rows: list[Any]) -> Any:
    return tree_map(lambda *leaves: np.stack(leaves), *rows)
