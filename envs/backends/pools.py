"""Thread pools in C++ that step whole batches: EnvPool, and the Arcade Learning Environment's own."""

from __future__ import annotations

import difflib
import importlib.util
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import create_empty_array

from ...networks.tree import copy_in_order, tree_map
from ..seeds import episode_seed
from ..tasks.task import colored
from .action_log import ActionLog, episodes_state, warn_unless_same
from .backend import DISABLED, NEXT_STEP, Backend

# Every first call of a pool may say that its bounds have been rounded to float32.
ROUNDED = partial(warnings.catch_warnings, action="ignore", category=UserWarning)


def envpool_maker(env_id: str, num_envs: int, threads: int, kwargs: dict[str, Any]) -> Callable[[int], Any]:
    """Return what makes a pool from a seed; what is wrong with the request is a `ValueError`."""
    if importlib.util.find_spec("envpool") is None:
        raise ValueError("backend 'envpool' needs envpool: pip install 'palaestra[envpool]'")
    import envpool

    known = envpool.list_all_envs()
    if env_id not in known:
        nearest = difflib.get_close_matches(env_id, known, n=1)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else f", which has {len(known)} others"
        raise ValueError(f"environment '{env_id}' is not in EnvPool{hint}")

    def make(seed: int) -> Any:
        try:
            with ROUNDED():
                pool = envpool.make_gymnasium(
                    env_id, num_envs=num_envs, num_threads=threads, seed=seed, **kwargs
                )
            return pool
        except Exception as error:
            message = str(error).strip().partition("\n")[0]
            with_kwargs = f" with {kwargs}" if kwargs else ""
            raise ValueError(
                f"environment '{env_id}' cannot be made by EnvPool{with_kwargs}: {message}"
            ) from error

    return make


class EnvPoolBackend(Backend):
    """Steps EnvPool's C++ environments, which reset in a step of their own.

    They are seeded as a whole and give no state, so that a resumed run begins new episodes. Their dynamics are
    EnvPool's: the same law as Gymnasium's, as far as EnvPool follows it, but other random numbers.
    """

    name = "envpool"
    autoreset_mode = NEXT_STEP
    exact_resume = False

    def __init__(self, make: Callable[[int], Any], num_envs: int, seed: int):
        self.make = make
        self.num_envs = num_envs
        self.seed = seed
        self.starts = 0
        self.pool = make(episode_seed(seed, 0, 0))
        with ROUNDED():
            self.observation_space = self.pool.observation_space
            self.action_space = self.pool.action_space
        self.metadata: dict[str, Any] = {}
        self.seeds = [None] * num_envs
        self.failures = []
        self.obs = create_empty_array(self.observation_space, n=num_envs)

    def start(self) -> Any:
        """Begin the first episodes."""
        self.starts = 0
        return self._start()

    def _start(self) -> Any:
        # A pool can be seeded only when it is made.
        self.pool.close()
        self.pool = self.make(episode_seed(self.seed, 0, self.starts))
        self.starts += 1
        with ROUNDED():
            self.obs = self._in_order(self.pool.reset()[0])
        return self.obs

    def _in_order(self, obs: Any) -> Any:
        """Observations with the keys of their space in its order, which are not those of EnvPool's dicts."""
        nested = isinstance(self.observation_space, (spaces.Dict, spaces.Tuple))
        return copy_in_order(self.observation_space, obs) if nested else obs

    def restart(self, mask: np.ndarray) -> Any:
        """The pool does it by itself."""
        raise NotImplementedError

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step the pool, which returns new arrays each time."""
        obs, reward, terminated, truncated, info = self.pool.step(action)
        self.obs = self._in_order(obs)
        return self.obs, reward.astype(np.float64), terminated, truncated, info

    def render(self, index: int) -> np.ndarray:
        """EnvPool's pictures are not the same for all its families."""
        raise ValueError("backend 'envpool' cannot draw; use backend 'sync'")

    def close(self) -> None:
        """End its threads."""
        self.pool.close()

    def state_dict(self) -> dict[str, Any]:
        """How often it was started."""
        return {"starts": self.starts}

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Begin new episodes."""
        self.starts = state["starts"]
        self._start()
        return False


class AleBackend(Backend):
    """Steps the Arcade Learning Environment's own vector environment, every episode with a seed of its own.

    It is made to reset in a step of its own, but told to reset before it comes to that: then each episode can be
    given its seed, and is restored by replaying it, as with `sync`.
    """

    name = "ale"
    autoreset_mode = DISABLED
    exact_resume = True

    def __init__(self, env: Any, seed: int):
        self.env = env
        self.num_envs = env.num_envs
        self.seed = seed
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self.metadata: dict[str, Any] = {"render_fps": 15}
        self.seeds = [None] * self.num_envs
        self.failures = []
        self.episode = np.full(self.num_envs, -1)
        self.log = ActionLog(self.action_space, self.num_envs)
        self.obs = create_empty_array(self.observation_space, n=self.num_envs)

    def start(self) -> Any:
        """Begin episode 0 everywhere."""
        self.episode[:] = -1
        return self.restart(np.ones(self.num_envs, bool))

    def restart(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask [B]`."""
        self.log.forget(mask)
        self.episode[mask] += 1
        self.obs = self._reset(mask)
        return self.obs

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        for i in np.flatnonzero(mask).tolist():
            self.seeds[i] = episode_seed(self.seed, i, int(self.episode[i]))
        seeds = np.array([self.seeds[i] for i in np.flatnonzero(mask)], np.int64)
        options = None if mask.all() else {"reset_mask": mask}
        return np.array(self.env.reset(seed=seeds, options=options)[0])

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every game."""
        self.log.add(action)
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.obs = np.array(obs)
        return self.obs, np.array(reward, np.float64), np.array(terminated), np.array(truncated), info

    def render(self, index: int) -> np.ndarray:
        """The newest frame of the observation, in grey or in colour, enlarged."""
        frame = self.obs[index][-1]
        return colored(frame[None])[0] if frame.ndim == 2 else frame

    def close(self) -> None:
        """End its threads."""
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        """Which episodes are running, their actions so far, and their observations, to compare."""
        return episodes_state(self.episode, self.log, self.obs)

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Replay the running episodes side by side, each begun so late that all arrive at the same step."""
        self.episode = np.array(state["episode"])
        if state["log"] is None:
            self.restart(np.ones(self.num_envs, bool))
            return False
        self.log.load_state_dict(state["log"])
        lengths = self.log.lengths
        total = int(lengths.max())
        actions = [self.log.episode(i) for i in range(self.num_envs)]
        obs = self._reset(np.ones(self.num_envs, bool))
        for t in range(total):
            due = lengths == total - t
            if t and due.any():
                obs = self._reset(due)
            ahead = np.zeros(self.num_envs, np.int64)
            for i in np.flatnonzero(lengths >= total - t).tolist():
                ahead[i] = actions[i][t - (total - lengths[i])]
            obs = self.env.step(ahead)[0]
        if total and (lengths == 0).any():
            obs = self._reset(lengths == 0)
        self.obs = tree_map(np.array, obs)
        warn_unless_same(self.obs, state["obs"])
        return True
