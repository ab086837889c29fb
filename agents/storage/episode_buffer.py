"""Whole episodes waiting to be learned from: every environment's steps in a column that grows at its own pace."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...networks.tree import tree_leaves, tree_map, write_rows
from ..agent import Transition
from .sequences import FLAGS, Sequence, padding_index, storage_dtype

# An episode that never ends would fill the memory.
MAX_EPISODE_STEPS = 100_000
# Rows that a column takes at a time.
PAGE = 64


class EpisodeBuffer:
    """Collects steps and gives out the episodes that are finished; the others wait for the next time.

    Column `i` holds the steps of environment `i` without gaps: `closed[i]` rows of finished episodes, then the
    episode that is under way, up to row `size[i]`. It lies in `pages[i]`, each `PAGE` rows of `rows`, from its row
    `begin[i]` on: so columns of all lengths take what they hold and less than two pages more.
    """

    def __init__(self) -> None:
        self.rows: Sequence | None = None
        """Rows `[slots, ...]` of all columns, page by page."""
        self.pages: list[list[int]] = []
        self.free: list[int] = []
        """Pages that no column has."""
        self.size = self.closed = self.begin = self.columns = np.zeros(0, np.int64)
        self.slot = self.left = np.zeros(0, np.int64)
        """Slot that each column's next step is written to, and how many are left from there on in its last page."""
        self.steps = 0
        """Steps in finished episodes."""
        self.count = 0
        """Finished episodes."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all rows."""
        return 0 if self.rows is None else sum(leaf.nbytes for leaf in tree_leaves(tuple(self.rows)))

    def add(self, transition: Transition) -> None:
        """Add a step to every column; rows that the backend spent on resetting are left out."""
        if self.rows is None:
            self._allocate(transition)
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
        opened = np.count_nonzero(step.first) > 0
        if opened:
            for column in columns[step.first & (self.size[columns] > self.closed[columns])].tolist():
                # An episode that was given up is dropped: a run went on at an episode boundary.
                self._cut_down(column, int(self.closed[column]))
        rows = self._rows_with_room(columns)
        index = self.slot[columns]
        if opened:
            rows.first[index[step.first]] = True
        write_rows(rows.obs, index, step.obs)
        rows.action[index] = step.action
        rows.reward[index] = step.reward
        self._move_on(columns)
        if np.count_nonzero(done := step.done):
            for column in columns[done].tolist():
                self._close(transition, column)

    def _close(self, transition: Transition, column: int) -> None:
        """Make the episode that just ended in a column a finished one."""
        slots = self._slots(column, self.closed[column], self.size[column])
        self.steps += len(slots)
        self.count += 1
        rows = self._rows_with_room(np.array([column]))
        rows.valid[slots] = True
        rows.terminated[slots[-1]] = transition.terminated[column]
        rows.truncated[slots[-1]] = transition.truncated[column]
        if not transition.terminated[column]:
            after = self.slot[column]
            write_rows(rows.obs, after, tree_map(lambda x: x[column], transition.next_obs))
            # Nothing was done there, and a row of zeros might be no action at all.
            rows.action[after] = rows.action[slots[-1]]
            rows.reward[after] = 0.0  # the page may have been another column's
            self._move_on(column)
        self.closed[column] = self.size[column]

    def _move_on(self, columns: Any) -> None:
        """One row more is filled."""
        self.size[columns] += 1
        self.slot[columns] += 1
        self.left[columns] -= 1

    def _slots(self, column: int, start: int, stop: int) -> np.ndarray:
        """Slots of rows `start` to `stop` of a column."""
        rows = np.arange(start, stop) + self.begin[column]
        return np.array(self.pages[column], np.int64)[rows // PAGE] * PAGE + rows % PAGE

    def finished(self) -> Sequence:
        """Return all finished episodes, one after another in each column.

        After an episode that was truncated comes one row with the true successor of its last step, which is not
        valid. Short columns are padded.
        """
        assert self.rows is not None
        total = int(self.closed.max())
        slots = np.zeros((total, len(self.size)), np.int64)
        for column, length in enumerate(self.closed.tolist()):
            slots[:length, column] = self._slots(column, 0, length)
        real = np.arange(total)[:, None] < self.closed
        if not real.all():
            slots = slots[padding_index(self.closed, total)]
        episodes = Sequence(*tree_map(lambda x: x[slots], tuple(self.rows)))
        return episodes._replace(**{name: getattr(episodes, name) & real for name in FLAGS})

    def drop_finished(self) -> None:
        """Drop the finished episodes; pages that hold nothing else are free."""
        for column, closed in enumerate(self.closed.tolist()):
            begin = int(self.begin[column]) + closed
            self.free += self.pages[column][: begin // PAGE]
            self.pages[column] = self.pages[column][begin // PAGE :]
            self.begin[column] = begin % PAGE
        self.size -= self.closed
        self.closed[:] = 0
        self.steps = self.count = 0

    def _cut_down(self, column: int, size: int) -> None:
        """Leave only the first `size` rows of a column."""
        end = int(self.begin[column]) + size
        pages = -(-end // PAGE)
        self.free += self.pages[column][pages:]
        self.pages[column] = self.pages[column][:pages]
        self.size[column], self.left[column] = size, pages * PAGE - end
        self.slot[column] = self.pages[column][-1] * PAGE + end - (pages - 1) * PAGE if pages else 0

    def _allocate(self, transition: Transition) -> None:
        num_envs = len(transition.reward)
        self._begin(num_envs)
        flags = dict.fromkeys(FLAGS, np.zeros(num_envs, bool))
        # Columns begin with an episode, so there is no memory to keep.
        reward, no_state = np.zeros(num_envs, np.float32), transition.state[:, :0]
        step = Sequence(transition.obs, action=transition.action, reward=reward, state=no_state, **flags)
        self.rows = Sequence(
            *tree_map(lambda x: np.zeros((0, *x.shape[1:]), storage_dtype(x.dtype)), tuple(step))
        )

    def _begin(self, num_envs: int) -> None:
        """Begin with empty columns."""
        self.columns, self.pages, self.free = np.arange(num_envs), [[] for _ in range(num_envs)], []
        self.size, self.closed, self.begin, self.slot, self.left = np.zeros((5, num_envs), np.int64)

    def _rows_with_room(self, columns: np.ndarray) -> Sequence:
        """Return the rows, with room for a step in each of some columns."""
        if not self.left[columns].all():
            for column in columns[self.left[columns] == 0].tolist():
                if self.size[column] - self.closed[column] > MAX_EPISODE_STEPS:
                    raise ValueError(
                        f"environment {column} has not ended its episode within {MAX_EPISODE_STEPS} steps, and only "
                        "whole episodes are learned from: give it a time limit (max_episode_steps)"
                    )
                page = self._free_page()
                self.pages[column].append(page)
                self.slot[column], self.left[column] = page * PAGE, PAGE
        assert self.rows is not None
        return self.rows

    def _free_page(self) -> int:
        assert self.rows is not None
        if not self.free:
            pages = len(self.rows.reward) // PAGE
            more = max(len(self.pages), pages // 4)
            self.free += range(pages + more - 1, pages - 1, -1)
            self.rows = Sequence(*tree_map(lambda x: _with_more_rows(x, more * PAGE), tuple(self.rows)))
        page = self.free.pop()
        for name in FLAGS:
            getattr(self.rows, name)[page * PAGE : (page + 1) * PAGE] = False
        return page

    def state_dict(self) -> dict[str, Any]:
        """The rows that are filled, one column after the other, and which of them are finished."""
        if self.rows is None:
            return {}
        slots = np.concatenate([self._slots(i, 0, size) for i, size in enumerate(self.size.tolist())])
        used = tree_map(lambda x: x[slots], self.rows._asdict())
        del used["state"]
        counts = {"size": self.size, "closed": self.closed, "steps": self.steps, "count": self.count}
        return {"rows": used, **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Fill in what `state_dict` gave."""
        self.__init__()  # type: ignore[misc]
        if not state:
            return
        rows, sizes = state["rows"], np.array(state["size"])
        self._begin(len(sizes))
        # Checkpoints of before have columns side by side, filled up with zeros.
        beside = rows["reward"].ndim == 2
        empty = tree_map(lambda x: np.zeros((0, *x.shape[1 + beside :]), x.dtype), rows)
        self.rows = Sequence(**empty, state=np.zeros((0, 0), np.float32))
        ends = np.cumsum(sizes)
        for column, (end, size) in enumerate(zip(ends.tolist(), sizes.tolist(), strict=True)):
            self.pages[column] = [self._free_page() for _ in range(-(-size // PAGE))]
            source = (slice(size), column) if beside else slice(end - size, end)
            for name, part in rows.items():
                chosen = tree_map(lambda x, at=source: x[at], part)
                write_rows(getattr(self.rows, name), self._slots(column, 0, size), chosen)
            self._cut_down(column, size)
        self.size, self.closed = sizes, np.array(state["closed"])
        self.steps, self.count = state["steps"], state["count"]


def _with_more_rows(x: np.ndarray, count: int) -> np.ndarray:
    larger = np.zeros((len(x) + count, *x.shape[1:]), x.dtype)
    larger[: len(x)] = x
    return larger
