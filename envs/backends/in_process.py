"""What steps the environments: a loop in this process, or a vector environment of their own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import create_empty_array

from ...networks.tree import read_row, same_leaves, tree_leaves, tree_like, tree_map
from ..seeds import episode_seed
from ..vector import DISABLED, Backend
from .action_log import ActionLog
from .copies import Copies, action_rows
from .snapshot import can_snapshot, restore_snapshot, take_snapshot


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
        replace_failed: bool = False,
    ):
        self.copies = Copies(make, 0, num_envs, seed, replace_failed)
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
        # Which episodes ran, and where they began in the log, before the last `restart`; for `undo`.
        self._before_restart: tuple[np.ndarray, np.ndarray] | None = None

    def start(self) -> Any:
        """Begin episode 0 everywhere."""
        self.copies.episode[:] = -1
        return self.restart(np.ones(self.num_envs, bool))

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`."""
        self.obs = tree_map(np.copy, self.obs)
        self._before_restart = self.copies.episode.copy(), self.log.start.copy()
        self.log.forget(mask)
        self.failures = []
        for i in np.flatnonzero(mask).tolist():
            self.failures += self.copies.begin(i, self.obs)
            self.seeds[i] = self.copies.seed_of(i)
        return self.obs

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment."""
        self.log.add(action)
        self._before_restart = None
        obs, reward = tree_map(np.empty_like, self.obs), np.empty(self.num_envs)
        terminated, truncated = np.empty(self.num_envs, bool), np.empty(self.num_envs, bool)
        rows = action_rows(action, self.num_envs)
        infos, self.failures = self.copies.step(rows, obs, reward, terminated, truncated)
        self.obs = obs
        return obs, reward, terminated, truncated, {"infos": infos}

    def undo(self, obs: Any) -> bool:
        """Forget the last step's actions: the episodes are brought back from their log anyway."""
        if self._before_restart is not None:
            self.copies.episode[:], self.log.start[:] = self._before_restart
        self.log.drop()
        self.obs = obs
        return True

    def replace(self, index: int) -> None:
        """Make one copy anew."""
        self.copies.replace(index)

    def render(self, index: int) -> np.ndarray:
        """Picture of one environment."""
        frame: Any = self.copies.envs[index].render()
        return frame

    def close(self) -> None:
        """Close every environment."""
        self.copies.close()

    def state_dict(self) -> dict[str, Any]:
        """Which episodes are running, their actions so far, and what they show, to compare."""
        return episodes_state(self.copies.episode, self.log, self.obs)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the running episodes; without `exact_resume` begin those after them."""
        self.copies.episode[:] = state["episode"]
        if not self.exact_resume:
            self.restart(np.ones(self.num_envs, bool))
            return
        self.log.load_state_dict(state["log"])
        self.obs = tree_map(np.copy, self.obs)
        for i in range(self.num_envs):
            self.copies.replay(i, int(self.copies.episode[i]), self.log.episode(i), self.obs)
            self.seeds[i] = self.copies.seed_of(i)
        warn_unless_same(self.obs, state["obs"])


def episodes_state(episode: np.ndarray, log: ActionLog, obs: Any) -> dict[str, Any]:
    """What brings running episodes back: numbers, which the seeds follow from, and actions; `obs` is to compare."""
    return {"episode": episode.copy(), "log": log.state_dict(), "obs": tree_leaves(obs)}


def warn_unless_same(obs: Any, leaves: list[np.ndarray]) -> None:
    """Compare what replayed episodes show with what they showed before."""
    before = tree_like(obs, leaves)
    for i in range(len(leaves[0])):
        if not same_leaves(read_row(obs, i), read_row(before, i)):
            warnings.warn(
                f"environment {i} did not come back as it was: it is not deterministic under its seed, "
                "so this run does not resume exactly",
                RuntimeWarning,
                stacklevel=3,
            )


class VectorBackend(Backend):
    """Steps a vector environment that the environment's package brings along, in its own auto-reset mode.

    It can be seeded only as a whole. To resume, its plain attributes are set back, where it has no others.
    """

    name = "vector"

    def __init__(self, env: VectorEnv, seed: int):
        self.env = env
        self.num_envs = env.num_envs
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self.autoreset_mode = AutoresetMode(env.metadata["autoreset_mode"])
        self.metadata = env.metadata
        self.exact_resume = can_snapshot(env)
        self.seed = seed
        self.seeds = [None] * self.num_envs
        self.failures = []
        self.starts = 0
        self.obs = create_empty_array(self.observation_space, n=self.num_envs)

    def start(self) -> Any:
        """Begin the first episodes."""
        self.starts = 0
        return self._start()

    def _start(self) -> Any:
        obs, _ = self.env.reset(seed=episode_seed(self.seed, 0, self.starts))
        self.starts += 1
        return self._keep(obs)

    def _keep(self, obs: Any) -> Any:
        # A copy: some vector environments write every step into the same arrays.
        self.obs = obs.copy() if type(obs) is np.ndarray else tree_map(np.array, obs)
        return self.obs

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`."""
        obs, _ = self.env.reset(options={"reset_mask": mask})
        return self._keep(obs)

    def undo(self, obs: Any) -> bool:
        """A snapshot is that of now; without one, the next session begins new episodes anyway."""
        return not self.exact_resume

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step the vector environment."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return (
            self._keep(obs),
            np.array(reward, np.float64),
            np.array(terminated, bool),
            np.array(truncated, bool),
            info,
        )

    def render(self, index: int) -> np.ndarray:
        """Picture of one environment."""
        frames: Any = self.env.render()
        return frames[index]

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        """A snapshot where that is everything; otherwise only how often it was started."""
        state: dict[str, Any] = {"starts": self.starts}
        if self.exact_resume:
            state |= {"snapshot": take_snapshot(self.env), "obs": tree_leaves(self.obs)}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the snapshot back; without one begin new episodes."""
        self.starts = state["starts"]
        if self.exact_resume:
            restore_snapshot(self.env, state["snapshot"])
            self.obs = tree_like(self.obs, (np.array(leaf) for leaf in state["obs"]))
        else:
            self._start()
