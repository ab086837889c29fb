"""Replay memory: the last steps of all environments, each observation once, sampled as n-step transitions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...networks.tree import tree_map, write_rows
from ..agent import StepStore, Store, Transition
from .frame_ring import FrameRing, Pool, stacked_frames
from .sequences import storage_dtype
from .sum_tree import CHILDREN, SumTree


class ReplaySample(NamedTuple):
    """Sampled transitions, NumPy arrays `[N, ...]`; a target is `reward + discount * value(next_obs)`."""

    obs: Any
    action: np.ndarray
    reward: np.ndarray
    """`r_0 + gamma r_1 + ...` over the k <= n_step steps of the window."""
    discount: np.ndarray
    """`gamma^k`; 0 where the window ends in a termination."""
    next_obs: Any
    """The true successor of the window's last step."""
    indices: np.ndarray
    """Where the transitions lie, for `update_priorities`."""
    weights: np.ndarray
    """Importance weights of prioritised sampling, at most 1; all 1 when sampling is uniform."""


class Replay(StepStore):
    """A ring of the last `capacity` steps, counted over all environments; allocated at the first `add`.

    The ring is time-major, `[rows, B, ...]`, and holds each observation once: the successor of row `t` is the
    observation of row `t + 1`, except where an episode ended; those true successors are in `ends`. The
    successor of the newest row is written into the row after it, where the next `add` writes, so the ring has
    one row more than can be sampled. Windows of `n_step` steps are cut short by episode ends, the newest row
    and invalid rows: every valid step can be sampled.

    Of pictures that are stacked, `[K, H, W]`, each frame is held once (`FrameRing`); the first step shows that they
    are.

    With `prioritized`, the exponent alpha of Schaul et al. 2016 (arXiv:1511.05952), steps are drawn in
    proportion to `priority^alpha`; new ones have the largest priority so far.
    """

    # Arrays are flat over (row, environment): a slot is `row * B + environment`.
    obs: Any
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray
    continues: np.ndarray  # the next row is the next step of the same episode
    end: np.ndarray  # index of the true successor in `ends`; -1: it is the observation of the next row
    first: np.ndarray
    state: np.ndarray
    stacks: FrameRing | None = None  # in place of `obs`, where observations are stacks of frames
    _arrays = ("action", "reward", "terminated", "truncated", "valid", "continues", "first", "state")

    # A checkpoint need not copy what this copies anyway: memory that held a replay while it filled holds it again.
    copies_state = True

    def __init__(
        self,
        capacity: int,
        *,
        n_step: int = 1,
        gamma: float = 0.99,
        prioritized: float | None = None,
        state_size: int = 0,
    ):
        if n_step < 1:
            raise ValueError(f"n_step must be at least 1, got {n_step}")
        self.capacity = capacity
        self.n_step = n_step
        self.gamma = gamma
        self.prioritized = prioritized
        self.state_size = state_size
        self.num_envs = 0  # nothing is allocated yet
        self.rows = 0
        self.position = 0  # the row that the next `add` writes
        self.size = 0  # rows that can be sampled
        self.added = 0  # rows that were ever added; of a replay that was loaded, since its oldest one
        self.invalid = 0  # steps in them that cannot
        self.continuing = np.zeros(0, bool)  # where the newest step's episode has a next one
        self.rows_with_ends: deque[int] = deque()  # oldest first
        self.max_priority = 1.0
        self.ends = Pool()
        self.tree: SumTree | None = None

    def __len__(self) -> int:
        """Steps that can be sampled."""
        return self.size * self.num_envs - self.invalid

    def store(self, step_bytes: int, state_size: int, num_envs: int, frames: int = 1) -> Store:
        """The ring, of which not all memory need be kept; without the true successors at ends of episodes."""
        slots = (self.capacity // num_envs + 1) * num_envs
        # Each frame once. Reward, index of the end, memory, and five flags; priorities with the sums above them.
        num_bytes = slots * (step_bytes // frames + 4 + 4 + 4 * self.state_size + 5)
        num_bytes += 0 if self.prioritized is None else slots * 8 * CHILDREN // (CHILDREN - 1)
        return Store("replay_capacity", self.capacity, num_bytes)

    def _allocate(self, obs: Any, action: np.ndarray, state: np.ndarray, num_envs: int, frames: int) -> None:
        """Make room for steps like those in `obs`, `action` and `state` `[N, ...]`; `obs` stack so many frames."""
        if self.capacity < num_envs:
            raise ValueError(f"a replay of {self.capacity} steps is too small for {num_envs} environments")
        self.num_envs, self.rows = num_envs, self.capacity // num_envs + 1
        slots = self.rows * num_envs

        def room(x: np.ndarray) -> np.ndarray:
            return np.zeros((slots, *x.shape[1:]), storage_dtype(x.dtype))

        self.stacks = FrameRing(self.rows, obs[:num_envs]) if frames > 1 else None
        self.obs = None if self.stacks else tree_map(room, obs)
        self.action, self.state = room(action), room(state)
        self.reward = np.zeros(slots, np.float32)
        self.terminated, self.truncated, self.valid, self.continues, self.first = np.zeros((5, slots), bool)
        self.end = np.full(slots, -1, np.int32)
        self.tree = None if self.prioritized is None else SumTree(slots)

    def add(self, transition: Transition) -> None:
        """Write one step of all environments; drops the oldest row when all are taken."""
        if self.num_envs == 0:
            state = transition.state[:, : self.state_size]
            frames = stacked_frames(transition.obs, transition.next_obs)
            self._allocate(transition.obs, transition.action, state, len(transition.reward), frames)
        position, valid = self.position, transition.valid
        row, after = self._slots_of(position), self._slots_of(position + 1)
        if self.size and np.count_nonzero(transition.first):
            self._abandon(self.continuing & transition.first)
        if self.size == self.rows - 1:
            self._drop_oldest()
        # The many small operations are what storing costs: whatever need not be done is not.
        done = transition.terminated | transition.truncated
        if self.size:
            before = self._slots_of(position - 1)
            self.continues[before] = self.continuing if valid is None else self.continuing & valid
        self.continuing = ~done if valid is None else ~done & valid
        self.continues[row] = False
        if self.stacks is not None:
            self.stacks.add(transition.obs, transition.next_obs)
        else:
            write_rows(self.obs, row, transition.obs)
            write_rows(self.obs, after, transition.next_obs)
        self.action[row] = transition.action
        self.reward[row] = transition.reward
        self.terminated[row] = transition.terminated
        self.truncated[row] = transition.truncated
        self.first[row] = transition.first
        if self.state_size:
            self.state[row] = transition.state[:, : self.state_size]
        self.valid[row] = True if valid is None else valid
        if np.count_nonzero(done):
            self._store_successors(position, done if valid is None else done & valid, transition.next_obs)
        if valid is not None:
            self.invalid += self.num_envs - transition.num_steps
        if self.tree is not None:
            fresh = self.valid[row] * self._sharpened(self.max_priority)
            self.tree.set(np.r_[row, after], np.concatenate([fresh, np.zeros(self.num_envs)]))
        self.position = (position + 1) % self.rows
        self.size = min(self.size + 1, self.rows - 1)
        self.added += 1

    def _abandon(self, abandoned: np.ndarray) -> None:
        """Truncate episodes that were given up, `abandoned [B]`, because a run went on at an episode boundary.

        Their successors still lie in the row that is written next.
        """
        before, after = self._slots_of(self.position - 1), self._slots_of(self.position)
        self.truncated[before] |= abandoned
        self.continuing = self.continuing & ~abandoned
        successors = self.obs_at(np.arange(after.start, after.stop))
        self._store_successors((self.position - 1) % self.rows, abandoned, successors)

    def _store_successors(self, row: int, ended: np.ndarray, next_obs: Any) -> None:
        """Store the true successors of the steps of a row that `ended [B]`, out of `next_obs [B, ...]`."""
        index = np.flatnonzero(ended)
        if not len(index):
            return
        self.end[row * self.num_envs + index] = self.ends.add(tree_map(lambda x: x[index], next_obs))
        if not self.rows_with_ends or self.rows_with_ends[-1] != row:
            self.rows_with_ends.append(row)

    def _slots_of(self, row: int) -> slice:
        start = row % self.rows * self.num_envs
        return slice(start, start + self.num_envs)

    def _drop_oldest(self) -> None:
        oldest = (self.position + 1) % self.rows
        row = self._slots_of(oldest)
        if self.invalid:
            self.invalid -= self.num_envs - int(np.count_nonzero(self.valid[row]))
        self.valid[row] = False
        if self.rows_with_ends and self.rows_with_ends[0] == oldest:
            self.rows_with_ends.popleft()
            ends = self.end[row]
            self.ends.remove(ends[ends >= 0])
            self.end[row] = -1

    def sample(self, batch_size: int, generator: np.random.Generator, beta: float = 1.0) -> ReplaySample:
        """Draw transitions with replacement; `beta` (0 to 1) is how far their weights undo the priorities."""
        slots, weights = self.draw(batch_size, generator, beta)
        return self.transitions(slots)._replace(weights=weights)

    def draw(self, count: int, generator: np.random.Generator, beta: float) -> tuple[np.ndarray, np.ndarray]:
        """Return slots `[N]` and their importance weights."""
        if len(self) == 0:
            raise ValueError("the replay is empty: there is nothing to sample")
        if self.tree is None:
            return self._draw_uniformly(count, generator), np.ones(count, np.float32)
        # One draw from each of `count` equal parts of all priorities (Schaul et al., appendix B.2.1).
        parts = (np.arange(count) + generator.random(count)) / count
        slots = self.tree.find(parts * self.tree.total)
        weights = self.tree.priorities[slots] ** -beta
        return slots, (weights / weights.max()).astype(np.float32)

    def _draw_uniformly(self, count: int, generator: np.random.Generator) -> np.ndarray:
        limit, oldest = self.size * self.num_envs, (self.position - self.size) * self.num_envs
        slots = (generator.integers(0, limit, count) + oldest) % len(self.reward)
        while self.invalid and len(wrong := np.flatnonzero(~self.valid[slots])):
            slots[wrong] = (generator.integers(0, limit, len(wrong)) + oldest) % len(self.reward)
        return slots

    def transitions(self, slots: np.ndarray) -> ReplaySample:
        """Return the n-step transitions that begin at slots `[N]`, with weight 1."""
        reward, discount, last = self.n_step_returns(slots)
        return ReplaySample(
            obs=self.obs_at(slots),
            action=self.action.take(slots, 0),
            reward=reward,
            discount=discount,
            next_obs=self.successor_obs(last),
            indices=slots,
            weights=np.ones(len(slots), np.float32),
        )

    def obs_at(self, slots: np.ndarray, part: Callable[[Any], Any] = lambda obs: obs) -> Any:
        """Observations `[N, ...]` at slots `[N]`, or the `part` of them that a function picks."""
        if self.stacks is not None:
            return part(self.stacks.take(slots, self.position))
        return tree_map(lambda x: x.take(slots, 0), part(self.obs))

    def successor_obs(self, slots: np.ndarray, part: Callable[[Any], Any] = lambda obs: obs) -> Any:
        """True successors `[N, ...]` of the steps at slots `[N]`, or the `part` of them that a function picks."""
        next_obs = self.obs_at(self.successors(slots), part)
        end = self.end.take(slots)
        stored = np.flatnonzero(end >= 0)
        if len(stored):
            write_rows(next_obs, stored, tree_map(lambda x: x[end[stored]], part(self.ends.rows)))
        return next_obs

    def n_step_returns(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """n-step reward and discount `[N]` from slots `[N]` on, and the slots of the last steps they reach."""
        # `take` costs half of what indexing by an array does.
        reward, discount, last = self.reward.take(slots), np.full(len(slots), self.gamma, np.float32), slots
        continues = self.continues.take(slots) if self.n_step > 1 else np.zeros(0, bool)
        for _ in range(self.n_step - 1):
            last = np.where(continues, self.successors(last), last)
            reward += discount * self.reward.take(last) * continues
            discount[continues] *= self.gamma
            continues &= self.continues.take(last)
        discount *= ~self.terminated.take(last)
        return reward, discount, last

    def successors(self, slots: np.ndarray) -> np.ndarray:
        """Slots of the next row; it holds the successor unless the episode ended."""
        return (slots + self.num_envs) % len(self.reward)

    def update_priorities(self, indices: np.ndarray, priorities: np.ndarray) -> None:
        """Give sampled transitions new, positive priorities `[N]`."""
        assert self.tree is not None, "this replay samples uniformly"
        self.max_priority = max(self.max_priority, float(priorities.max()))
        self.tree.set(indices, self._sharpened(priorities))

    def _sharpened(self, priorities: Any) -> Any:
        return priorities**self.prioritized

    def state_dict(self) -> dict[str, Any]:
        """All rows in use, as views of the ring."""
        numbers = {
            name: getattr(self, name) for name in ("num_envs", "position", "size", "invalid", "max_priority")
        }
        if self.num_envs == 0:
            return numbers
        # Until the ring is full, the rows in use are the first ones, and one for the newest row's successor.
        used = slice(0, min(self.size + 1, self.rows) * self.num_envs)
        arrays = {name: getattr(self, name)[used] for name in self._arrays}
        if self.stacks is None:
            arrays["obs"] = tree_map(lambda x: x[used], self.obs)
        slots = np.flatnonzero(self.end >= 0)
        ends = {
            "slots": slots,
            "obs": tree_map(lambda x: x[self.end[slots]], self.ends.rows) if len(slots) else None,
        }
        priorities = None if self.tree is None else self.tree.priorities[used]
        stacks = {} if self.stacks is None else {"stacks": self.stacks.state_dict()}
        return numbers | {"arrays": arrays, "ends": ends, "priorities": priorities, **stacks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        if state["num_envs"]:
            arrays, stacks = state["arrays"], state.get("stacks")
            obs = arrays["obs"] if stacks is None else FrameRing.example(stacks, state["num_envs"])
            frames = 1 if stacks is None else stacks["count"]
            self._allocate(obs, arrays["action"], arrays["state"], state["num_envs"], frames)
            used = slice(0, len(arrays["reward"]))
            for name in self._arrays:
                getattr(self, name)[used] = arrays[name]
            if self.stacks is None or stacks is None:
                write_rows(self.obs, used, obs)
            else:
                self.stacks.load_state_dict(stacks)
            self.ends = Pool()
            if len(state["ends"]["slots"]):
                self.end[state["ends"]["slots"]] = self.ends.add(state["ends"]["obs"])
            if self.tree is not None:
                self.tree.set(np.arange(used.stop), state["priorities"])
        self.position, self.size, self.invalid = state["position"], state["size"], state["invalid"]
        self.max_priority = state["max_priority"]
        self.added = self.size
        if self.num_envs:
            rows = np.unique(np.flatnonzero(self.end >= 0) // self.num_envs)
            # By age: the row that the next `add` writes comes last of all.
            self.rows_with_ends = deque(
                sorted(rows.tolist(), key=lambda row: (row - self.position) % self.rows)
            )
        if self.size:
            newest = self._slots_of(self.position - 1)
            self.continuing = self.valid[newest] & ~(self.terminated[newest] | self.truncated[newest])
