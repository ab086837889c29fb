"""Backends of several runs at once: the copies of one run after another, each with seeds and state of its own.

What comes out of a run's rows is bit for bit what its own backend would give, and its state is one that its own backend
takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv

from ...networks.tree import tree_leaves
from ..seeds import episode_seed
from ..tasks.task import TaskVectorEnv
from .backend import Backend
from .cartpole import FastCartPole
from .copies import EnvCopies
from .native import VectorBackend
from .snapshot import take_snapshot
from .sync import SyncBackend

CARTPOLE_AXES = {"state": -1, "steps": 0, "prev_done": 0}
# Vector environments whose copies can be told apart, and the axis of their arrays that counts copies.
AXES: dict[type, dict[str, int]] = {
    CartPoleVectorEnv: CARTPOLE_AXES,
    FastCartPole: CARTPOLE_AXES,
    TaskVectorEnv: {"worlds": 0, "time": 0},
}


class JointBackend(Backend):
    """Steps `len(seeds)` runs of `copies` environments each."""

    run_seeds: list[int]
    copies_each: int

    def split(self) -> list[dict[str, Any]]:
        """Where the environments of each run are, as the run's own backend would say it."""
        raise NotImplementedError

    def join(self, states: list[dict[str, Any]]) -> None:
        """Bring the environments of all runs back to where they were."""
        raise NotImplementedError


class JointCopies(EnvCopies):
    """Single environments of several runs."""

    def __init__(self, make: Callable[[int], gymnasium.Env], copies_each: int, seeds: list[int]):
        self.run_seeds, self.copies_each = seeds, copies_each
        super().__init__(lambda index: make(index % copies_each), 0, copies_each * len(seeds), seeds[0])

    def seed_of(self, row: int) -> int:
        """Seed of the running episode of a copy: it does not show that there are other runs."""
        run, copy = divmod(row, self.copies_each)
        return episode_seed(self.run_seeds[run], copy, int(self.episode[row]))


class JointSyncBackend(SyncBackend, JointBackend):
    """A loop over the single environments of all runs."""

    def __init__(self, make: Callable[[int], gymnasium.Env], copies_each: int, seeds: list[int]):
        self.run_seeds, self.copies_each = seeds, copies_each
        copies = JointCopies(make, copies_each, seeds)
        super().__init__(make, copies_each * len(seeds), seeds[0], copies)

    def split(self) -> list[dict[str, Any]]:
        """Episodes and actions of each run."""
        states = []
        for rows in row_slices(self.copies_each, len(self.run_seeds)):
            log = self.log.state_dict(range(rows.start, rows.stop))
            obs = [leaf[rows] for leaf in tree_leaves(self.obs)]
            states.append({"episode": self.copies.episode[rows].copy(), "log": log, "obs": obs})
        return states

    def join(self, states: list[dict[str, Any]]) -> None:
        """Replay the running episodes."""
        logs = [state["log"] for state in states]
        # Where one run has given up an episode, all begin new ones.
        log = None
        if None not in logs:
            log = {
                "lengths": np.concatenate([log["lengths"] for log in logs]),
                "actions": _joined([log["actions"] for log in logs]),
            }
        self.load_state_dict(
            {
                "episode": np.concatenate([state["episode"] for state in states]),
                "log": log,
                "obs": _joined([state["obs"] for state in states]),
            }
        )


class JointVectorBackend(VectorBackend, JointBackend):
    """One vector environment for all runs, whose random numbers come from a generator of each run."""

    def __init__(self, env: VectorEnv, copies_each: int, seeds: list[int]):
        self.run_seeds, self.copies_each = seeds, copies_each
        super().__init__(env, seeds[0])
        self.generators = JointGenerators(env, copies_each, len(seeds))
        self.axes = AXES[type(env)]
        if isinstance(env, TaskVectorEnv):
            env.generator_of = self.generators.of_copy  # type: ignore[method-assign]

    def _start(self) -> Any:
        for index, seed in enumerate(self.run_seeds):
            self.generators.each[index], _ = seeding.np_random(episode_seed(seed, 0, self.starts))
        self.env._np_random = self.generators  # type: ignore[assignment]
        obs, _ = self.env.reset()
        self.starts += 1
        return self._keep(obs)

    def split(self) -> list[dict[str, Any]]:
        """A snapshot of each run's copies."""
        whole = take_snapshot(self.env)["attributes"]
        states = []
        for index, rows in enumerate(row_slices(self.copies_each, len(self.run_seeds))):
            seed = episode_seed(self.run_seeds[index], 0, self.starts - 1)
            attributes = whole | {"num_envs": self.copies_each, "_np_random_seed": seed}
            for name, axis in self.axes.items():
                attributes[name] = whole[name][..., rows].copy() if axis else whole[name][rows].copy()
            generator = self.generators.each[index].bit_generator.state
            snapshot = {"attributes": attributes, "generators": {"_np_random": generator}, "same": {}}
            obs = [leaf[rows] for leaf in tree_leaves(self.obs)]
            states.append({"starts": self.starts, "snapshot": snapshot, "obs": obs})
        return states

    def join(self, states: list[dict[str, Any]]) -> None:
        """Set the snapshots back."""
        snapshots = [state["snapshot"] for state in states]
        attributes = dict(snapshots[0]["attributes"]) | {"num_envs": self.num_envs}
        for name, axis in self.axes.items():
            attributes[name] = np.concatenate([shot["attributes"][name] for shot in snapshots], axis)
        for index, shot in enumerate(snapshots):
            # A generator is set back by its own backend, and moved over here.
            self.generators.each[index].bit_generator.state = shot["generators"]["_np_random"]
        self.load_state_dict(
            {
                "starts": states[0]["starts"],
                "snapshot": {"attributes": attributes, "generators": {}, "same": {}},
                "obs": _joined([state["obs"] for state in states]),
            }
        )
        self.env._np_random = self.generators  # type: ignore[assignment]


class JointGenerators:
    """Stands where a vector environment has its generator: each copy draws from the generator of its run."""

    def __init__(self, env: VectorEnv, copies_each: int, runs: int):
        self.env = env
        self.copies_each = copies_each
        self.each = [np.random.default_rng(0) for _ in range(runs)]

    def uniform(self, low: float, high: float, size: tuple[int, int]) -> np.ndarray:
        """Starts `[4, N]` of CartPole's copies: of all, or of those whose episode has ended."""
        counts = np.full(len(self.each), self.copies_each)
        if size[1] != len(self.each) * self.copies_each:
            counts = self.env.prev_done.reshape(len(self.each), -1).sum(1)  # type: ignore[attr-defined]
        drawn = [
            generator.uniform(low=low, high=high, size=(size[0], count))
            for generator, count in zip(self.each, counts.tolist(), strict=True)
            if count
        ]
        return np.concatenate(drawn, 1) if drawn else np.zeros(size)

    def of_copy(self, index: int) -> np.random.Generator:
        """The generator of the run that a copy belongs to."""
        return self.each[index // self.copies_each]


def row_slices(copies_each: int, runs: int) -> list[slice]:
    """Rows of each run."""
    return [slice(index * copies_each, (index + 1) * copies_each) for index in range(runs)]


def _joined(leaves: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(parts) for parts in zip(*leaves, strict=True)]
