"""The `sync` backend: a loop over single environments in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import create_empty_array

from ...networks.tree import tree_map
from .action_log import ActionLog, episodes_state, warn_unless_same
from .backend import DISABLED, Backend
from .copies import EnvCopies, action_rows, picture


class SyncBackend(Backend):
    """Steps single environments one after the other; right for every Gymnasium environment.

    A loop of our own and not Gymnasium's SyncVectorEnv, which copies deeply and merges infos key by key.
    """

    name = "sync"
    autoreset_mode = DISABLED

    def __init__(
        self,
        make: Callable[[int], gymnasium.Env],
        num_envs: int,
        seed: int,
        copies: EnvCopies | None = None,
    ):
        self.copies = copies or EnvCopies(make, 0, num_envs, seed)
        env = self.copies.envs[0]
        self.num_envs = num_envs
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.metadata = env.metadata
        self.exact_resume = env.spec is None or not env.spec.nondeterministic
        self.seeds = [None] * num_envs
        self.failures = []
        self.log = ActionLog(self.action_space, num_envs)
        self.obs = create_empty_array(self.observation_space, n=num_envs)

    def start(self) -> Any:
        """Begin episode 0 everywhere."""
        self.copies.episode[:] = -1
        return self.restart(np.ones(self.num_envs, bool))

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`."""
        self.obs = tree_map(np.copy, self.obs)
        self.log.forget(mask)
        self.failures = []
        for i in np.flatnonzero(mask).tolist():
            self.failures += self.copies.begin(i, self.obs)
            self.seeds[i] = self.copies.seed_of(i)
        return self.obs

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment."""
        self.log.add(action)
        obs, reward = tree_map(np.empty_like, self.obs), np.empty(self.num_envs)
        terminated, truncated = np.empty(self.num_envs, bool), np.empty(self.num_envs, bool)
        rows = action_rows(action, self.num_envs)
        infos, self.failures = self.copies.step(rows, obs, reward, terminated, truncated)
        self.obs = obs
        return obs, reward, terminated, truncated, {"infos": infos}

    def replace(self, index: int) -> None:
        """Make one copy anew."""
        self.copies.replace(index)

    def render(self, index: int) -> np.ndarray:
        """Picture of one environment."""
        return picture(self.copies.envs[index])

    def close(self) -> None:
        """Close every environment."""
        self.copies.close()

    def state_dict(self) -> dict[str, Any]:
        """Which episodes are running, their actions so far, and their observations, to compare."""
        return episodes_state(self.copies.episode, self.log, self.obs)

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Replay the running episodes; begin those after them where that is not exact, or a log was given up."""
        self.copies.episode[:] = state["episode"]
        if not self.exact_resume or state["log"] is None:
            self.restart(np.ones(self.num_envs, bool))
            return False
        self.log.load_state_dict(state["log"])
        self.obs = tree_map(np.copy, self.obs)
        for i in range(self.num_envs):
            row, *_ = self.copies.replay(i, int(self.copies.episode[i]), self.log.episode(i))
            self.copies.write_obs(self.obs, i, row)
            self.seeds[i] = self.copies.seed_of(i)
        warn_unless_same(self.obs, state["obs"])
        return True
