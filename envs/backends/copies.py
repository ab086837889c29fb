"""Single environments, stepped one after the other in the process where they live."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from ...networks.tree import read_row, row_writer, tree_leaves
from ..seeds import episode_seed
from .failure import Failure, failed

# A copy that cannot be reset is made anew this often; then it is hopeless.
RESET_ATTEMPTS = 3
# An environment that wants to end the whole program is one that has failed.
FAULTS = (Exception, SystemExit)


class Copies:
    """Copies `first, first + 1, ...` of one environment; `make(i)` makes copy `i`.

    Episode `k` of copy `i` is reset with `episode_seed(seed, i, k)`: with that seed and the actions since, a
    running episode is brought back by replaying it, which is exact for every environment that is
    deterministic under its seed.
    """

    def __init__(
        self, make: Callable[[int], gymnasium.Env], first: int, count: int, seed: int, replace_failed: bool
    ):
        self.make = make
        self.envs = [make(first + row) for row in range(count)]
        self.first = first
        self.seed = seed
        self.replace_failed = replace_failed
        """Whether copies that fail are made anew, so that the others can go on."""
        # Which episode each copy is in.
        self.episode = np.full(count, -1)
        self.write_obs = row_writer(self.envs[0].observation_space)

    def seed_of(self, row: int) -> int:
        """What the running episode of a copy was reset with."""
        return episode_seed(self.seed, self.first + row, int(self.episode[row]))

    def begin(self, row: int, obs: Any) -> list[Failure]:
        """Begin the next episode of one copy and write what it shows; returns what went wrong on the way."""
        failures: list[Failure] = []
        for attempt in range(RESET_ATTEMPTS):
            self.episode[row] += 1
            try:
                first_obs, _ = self.envs[row].reset(seed=self.seed_of(row))
                self.write_obs(obs, row, first_obs)
                return failures
            except FAULTS as error:
                fatal = attempt == RESET_ATTEMPTS - 1
                failures.append(
                    Failure(self.first + row, failed(error), error, True, fatal, self.seed_of(row))
                )
                if not self.replace_failed:
                    break
                self.replace(row)
        return failures

    def step(
        self,
        rows: Any,
        obs: Any,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        skipped: Sequence[int] = (),
    ) -> tuple[list[dict[str, Any]], list[Failure]]:
        """Step every copy with its row of actions, except those `skipped`, and write into the arrays `[B, ...]`."""
        infos: list[dict[str, Any]] = []
        failures: list[Failure] = []
        write = self.write_obs
        for i, env in enumerate(self.envs):
            if skipped and i in skipped:
                infos.append({})
                continue
            try:
                row, reward[i], terminated[i], truncated[i], info = env.step(rows[i])
                write(obs, i, row)
                infos.append(info)
            except FAULTS as error:
                failures.append(Failure(self.first + i, failed(error), error))
                infos.append({})
                if self.replace_failed:
                    self.replace(i)
        return infos, failures

    def replay(self, row: int, episode: int, actions: Any, obs: Any) -> None:
        """Bring a copy back to where `actions [length, ...]` lead in one of its episodes."""
        self.episode[row] = episode
        shown, _ = self.envs[row].reset(seed=self.seed_of(row))
        for t in range(len(tree_leaves(actions)[0])):
            shown, *_ = self.envs[row].step(read_row(actions, t))
        self.write_obs(obs, row, shown)

    def replace(self, row: int) -> None:
        """Make a copy anew; it has to be reset next."""
        with contextlib.suppress(Exception):
            self.envs[row].close()
        self.envs[row] = self.make(self.first + row)

    def close(self) -> None:
        """Close every copy."""
        for env in self.envs:
            env.close()


def action_rows(action: Any, count: int) -> Any:
    """What indexes a batch of actions by copy."""
    return action if isinstance(action, np.ndarray) else [read_row(action, i) for i in range(count)]
