"""Whole episodes waiting to be learned from: every environment's steps in a column that grows at its own pace."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...networks.tree import tree_leaves, tree_map, write_rows
from ..agent import Transition
from .sequences import Sequence, padded, storage_dtype

# An episode that never ends would fill the memory.
MAX_EPISODE_STEPS = 100_000


class EpisodeBuffer:
    """Collects steps and gives out the episodes that are finished; the others wait for the next time.

    Column `i` holds the steps of environment `i` without gaps: `closed[i]` rows of finished episodes, then the
    episode that is under way, up to row `size[i]`.
    """

    def __init__(self) -> None:
        self.rows: Sequence | None = None
        self.size = self.closed = self.columns = np.zeros(0, np.int64)
        self.steps = 0
        """Steps in finished episodes."""
        self.count = 0
        """Finished episodes."""

    def add(self, transition: Transition) -> None:
        """Add a step to every column; rows that the backend spent on resetting are left out."""
        rows = self._rows_with_room(transition)
        columns, step = self.columns, transition
        if transition.valid is not None:
            columns = np.flatnonzero(transition.valid)
            step = transition._replace(
                obs=tree_map(lambda x: x[columns], transition.obs),
                action=transition.action[columns],
                reward=transition.reward[columns],
                terminated=transition.terminated[columns],
                truncated=transition.truncated[columns],
                first=transition.first[columns],
            )
        if step.first.any():
            opened = columns[step.first]
            # An episode before that was given up is dropped: a run went on at an episode boundary.
            self.size[opened] = self.closed[opened]
            rows.first[self.size[opened], opened] = True
        index = self.size[columns], columns
        write_rows(rows.obs, index, step.obs)
        rows.action[index] = step.action
        rows.reward[index] = step.reward
        self.size[columns] += 1
        done = step.done
        if done.any():
            for column in columns[done]:
                self._close(rows, transition, column)

    def _close(self, rows: Sequence, transition: Transition, column: int) -> None:
        """Make the episode that just ended in a column a finished one."""
        begin, end = self.closed[column], self.size[column]
        self.steps += int(end - begin)
        self.count += 1
        rows.valid[begin:end, column] = True
        rows.terminated[end - 1, column] = transition.terminated[column]
        rows.truncated[end - 1, column] = transition.truncated[column]
        if not transition.terminated[column]:
            write_rows(rows.obs, (end, column), tree_map(lambda x: x[column], transition.next_obs))
            # Nothing was done there, and a row of zeros might be no action at all.
            rows.action[end, column] = rows.action[end - 1, column]
            self.size[column] += 1
        self.closed[column] = self.size[column]

    def finished(self) -> Sequence:
        """Return all finished episodes, one after another in each column; good until the next call of another method.

        After an episode that was truncated comes one row with the true successor of its last step, which is not
        valid. Short columns are padded.
        """
        assert self.rows is not None
        return padded(self.rows, self.closed, int(self.closed.max()))

    def drop_finished(self) -> None:
        """Drop the finished episodes and move the others to the top of their columns."""
        assert self.rows is not None
        for column, (begin, end) in enumerate(zip(self.closed, self.size, strict=True)):
            left = end - begin
            for array in (*tree_leaves(self.rows.obs), *self.rows[1:]):
                array[:left, column] = array[begin:end, column]
                array[left:end, column] = 0
        self.size -= self.closed
        self.closed[:] = 0
        self.steps = self.count = 0

    def _rows_with_room(self, transition: Transition) -> Sequence:
        """Return the rows, with room for a step and a successor in every column."""
        if self.rows is None:
            num_envs = len(transition.reward)
            self.columns = np.arange(num_envs)
            self.size, self.closed = np.zeros((2, num_envs), np.int64)
            flags = dict.fromkeys(("first", "terminated", "truncated", "valid"), np.zeros(num_envs, bool))
            # Columns begin with an episode, so there is no memory to keep.
            reward, no_state = np.zeros(num_envs, np.float32), transition.state[:, :0]
            step = Sequence(transition.obs, action=transition.action, reward=reward, state=no_state, **flags)
            self.rows = Sequence(
                *tree_map(lambda x: np.zeros((0, *x.shape), storage_dtype(x.dtype)), tuple(step))
            )
        if self.size.max() + 2 > len(self.rows.reward):
            longest = int((self.size - self.closed).argmax())
            if self.size[longest] - self.closed[longest] > MAX_EPISODE_STEPS:
                raise ValueError(
                    f"environment {longest} has not ended its episode within {MAX_EPISODE_STEPS} steps, and only "
                    "whole episodes are learned from: give it a time limit (max_episode_steps)"
                )
            self.rows = Sequence(*tree_map(lambda x: _with_more_rows(x, max(256, len(x))), tuple(self.rows)))
        return self.rows

    def state_dict(self) -> dict[str, Any]:
        """The rows that are filled, and which of them are finished."""
        if self.rows is None:
            return {}
        used = tree_map(lambda x: x[: self.size.max()], self.rows._asdict())
        del used["state"]
        counts = {"size": self.size, "closed": self.closed, "steps": self.steps, "count": self.count}
        return {"rows": used, **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Fill in what `state_dict` gave."""
        if not state:
            self.__init__()  # type: ignore[misc]
            return
        rows = tree_map(np.array, state["rows"])
        self.rows = Sequence(**rows, state=np.zeros((*rows["reward"].shape, 0), np.float32))
        self.size, self.closed = np.array(state["size"]), np.array(state["closed"])
        self.columns = np.arange(len(self.size))
        self.steps, self.count = state["steps"], state["count"]


def _with_more_rows(x: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([x, np.zeros((count, *x.shape[1:]), x.dtype)])
