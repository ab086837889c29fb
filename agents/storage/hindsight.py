"""Hindsight experience replay (Andrychowicz et al. 2017, arXiv:1707.01495), with its strategy "future".

Whatever was achieved later in an episode is a goal that the episode reached: a share of the sampled steps is learned
from as if that had been the goal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .replay import Replay, ReplaySample

# Parts of the observations of goal environments.
ACHIEVED, DESIRED = "achieved_goal", "desired_goal"

# (achieved [N, ...], desired [N, ...]) -> (reward [N], terminated [N]), as the environment would have given them
GoalRule = Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]
# Like `Replay.sample`.
Sampler = Callable[..., ReplaySample]


def goal_sampler(replay: Replay, share: float, rule: GoalRule | None, has_memory: bool) -> Sampler:
    """Return what samples a replay: itself, or with a `share` of its steps relabelled, where that is above 0.

    Raises:
        ValueError: what is asked for beside it cannot be had.
    """
    if share == 0:
        return replay.sample
    if has_memory:
        raise ValueError("hindsight relabels single steps and cannot use a memory: choose memory 'none'")
    if replay.n_step != 1:
        raise ValueError(f"hindsight relabels single steps: n_step must be 1, got {replay.n_step}")
    if rule is None:
        raise ValueError("hindsight needs the goal rule of an environment; set it to 0")
    return Hindsight(replay, share, rule).sample


class Hindsight:
    """Samples a replay, with the goals of a share of the steps replaced by ones achieved later in their episodes.

    Rewards and terminations of these steps are those that the `rule` gives for the new goal. Of an episode that is
    under way, what has been achieved so far counts. All that is kept here follows from the replay.
    """

    def __init__(self, replay: Replay, share: float, rule: GoalRule):
        self.replay = replay
        self.share = share
        self.rule = rule
        # Rows are counted from the first that was ever added. Those before `seen` are in `last`: by slot, the last row
        # of the episode, -1 while it is under way; it began in the row `begun [B]`.
        self.seen = 0
        self.last = np.zeros(0, np.int64)
        self.begun = np.zeros(0, np.int64)

    def sample(self, batch_size: int, generator: np.random.Generator, beta: float = 1.0) -> ReplaySample:
        """Draw transitions as the replay does, and relabel a share of them."""
        sample = self.replay.sample(batch_size, generator, beta)
        rows = np.flatnonzero(generator.random(batch_size) < self.share)
        later = self._later(sample.indices[rows], generator)
        if not len(rows):
            return sample
        goal = self.replay.successor_obs(later, lambda obs: obs[ACHIEVED])
        reward, terminated = self.rule(sample.next_obs[ACHIEVED][rows], goal)
        # Sampled arrays are copies, so nothing of the replay changes.
        for obs in (sample.obs, sample.next_obs):
            obs[DESIRED][rows] = goal
        sample.reward[rows] = reward
        sample.discount[rows] = self.replay.gamma * ~terminated
        return sample

    def _later(self, slots: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Slots `[N]` of steps drawn uniformly from those of the same episode from each of `slots [N]` on."""
        self._catch_up()
        replay, newest = self.replay, self.replay.added - 1
        columns = slots % replay.num_envs
        row = newest - (replay.position - 1 - slots // replay.num_envs) % replay.rows
        last = self.last[slots]
        last = np.where(last < 0, newest, last)
        later = row + (generator.random(len(slots)) * (last - row + 1)).astype(np.int64)
        return self._ring(later) * replay.num_envs + columns

    def _ring(self, row: Any) -> Any:
        """Where rows lie in the ring."""
        return (self.replay.position - (self.replay.added - row)) % self.replay.rows

    def _catch_up(self) -> None:
        """Find the episodes of the rows that were added since the last time."""
        replay = self.replay
        oldest = replay.added - replay.size
        if not len(self.last) or not oldest <= self.seen <= replay.added:
            self.last = np.full(len(replay.reward), -1)
            self.begun = np.full(replay.num_envs, oldest)
            self.seen = oldest
        for row in range(self.seen, replay.added):
            slots = int(self._ring(row)) * replay.num_envs + np.arange(replay.num_envs)
            self.last[slots] = -1
            # An episode that was given up ended in the row before.
            for column in np.flatnonzero(replay.first[slots] & (self.begun < row)).tolist():
                self._close(column, row - 1, oldest)
            ended = replay.terminated[slots] | replay.truncated[slots] | ~replay.valid[slots]
            for column in np.flatnonzero(ended).tolist():
                self._close(column, row, oldest)
        self.seen = replay.added

    def _close(self, column: int, last: int, oldest: int) -> None:
        """The episode under way in a column has ended in the row `last`."""
        rows = np.arange(max(self.begun[column], oldest), last + 1)
        self.last[self._ring(rows) * self.replay.num_envs + column] = last
        self.begun[column] = last + 1
