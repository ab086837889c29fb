"""What steps the environments: a loop in this process, or a vector environment of their own."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import create_empty_array

from .action_log import ActionLog
from .snapshot import can_snapshot, restore_snapshot, take_snapshot
from .tree import read_row, same_leaves, tree_leaves, tree_like, tree_map, write_row
from .vector import DISABLED, Backend, episode_seed


class SyncBackend(Backend):
    """Steps single environments one after the other; right for every Gymnasium environment.

    A loop of our own and not Gymnasium's SyncVectorEnv, which copies deeply and merges infos key by key.

    Episode `k` of environment `i` is reset with `episode_seed(seed, i, k)`. To resume, each environment is
    reset with the seed of its running episode and the actions since are replayed: exact for every environment
    that is deterministic under its seed.
    """

    name = "sync"
    autoreset_mode = DISABLED

    def __init__(self, envs: list[gymnasium.Env], seed: int):
        self.envs = envs
        self.num_envs = len(envs)
        self.observation_space = envs[0].observation_space
        self.action_space = envs[0].action_space
        self.metadata = envs[0].metadata
        self.exact_resume = envs[0].spec is None or not envs[0].spec.nondeterministic
        self.seed = seed
        self.seeds: list[int | None] = [None] * self.num_envs
        self.episode = np.full(self.num_envs, -1)
        self.log = ActionLog(self.action_space, self.num_envs)
        self.obs = create_empty_array(self.observation_space, n=self.num_envs)

    def start(self) -> Any:
        """Begin episode 0 everywhere."""
        self.episode[:] = -1
        return self.restart(np.ones(self.num_envs, bool))

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`."""
        self.obs = tree_map(np.copy, self.obs)
        self.log.forget(mask)
        for i in np.flatnonzero(mask).tolist():
            self.episode[i] += 1
            write_row(self.obs, i, self._reset(i))
        return self.obs

    def _reset(self, index: int) -> Any:
        seed = self.seeds[index] = episode_seed(self.seed, index, int(self.episode[index]))
        obs, _ = self.envs[index].reset(seed=seed)
        return obs

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment."""
        self.log.add(action)
        rows = (
            action if isinstance(action, np.ndarray) else [read_row(action, i) for i in range(self.num_envs)]
        )
        obs = tree_map(np.empty_like, self.obs)
        reward = np.empty(self.num_envs)
        terminated, truncated = np.empty(self.num_envs, bool), np.empty(self.num_envs, bool)
        infos = []
        i = 0
        try:
            for i, env in enumerate(self.envs):
                row, reward[i], terminated[i], truncated[i], info = env.step(rows[i])
                write_row(obs, i, row)
                infos.append(info)
        except Exception as error:
            error.add_note(f"raised by environment {i}, episode seed {self.seeds[i]}, action {rows[i]}")
            raise
        self.obs = obs
        return obs, reward, terminated, truncated, {"infos": infos}

    def render(self, index: int) -> np.ndarray:
        """Picture of one environment."""
        frame: Any = self.envs[index].render()
        return frame

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()

    def state_dict(self) -> dict[str, Any]:
        """Which episodes are running, their actions so far, and what they show, to compare."""
        return {"episode": self.episode.copy(), "log": self.log.state_dict(), "obs": tree_leaves(self.obs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the running episodes; without `exact_resume` begin those after them."""
        self.episode = np.array(state["episode"])
        if not self.exact_resume:
            self.restart(np.ones(self.num_envs, bool))
            return
        self.log.load_state_dict(state["log"])
        self.obs = tree_map(np.copy, self.obs)
        for i in range(self.num_envs):
            write_row(self.obs, i, self._replay(i))
            if not same_leaves(read_row(self.obs, i), read_row(tree_like(self.obs, state["obs"]), i)):
                warnings.warn(
                    f"environment {i} did not come back as it was: it is not deterministic under its seed, "
                    "so this run does not resume exactly",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def _replay(self, index: int) -> Any:
        obs = self._reset(index)
        actions = self.log.episode(index)
        for t in range(len(tree_leaves(actions)[0])):
            obs, *_ = self.envs[index].step(read_row(actions, t))
        return obs


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
        self.obs = tree_map(np.array, obs)
        return self.obs

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`."""
        obs, _ = self.env.reset(options={"reset_mask": mask})
        return self._keep(obs)

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
