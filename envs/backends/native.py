"""The `vector` backend: a vector environment that the environment's package brings along."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import create_empty_array

from ...networks.tree import cast, tree_leaves, tree_like
from ..seeds import episode_seed
from .backend import Backend
from .cartpole import FastCartPole
from .copies import close_env
from .failure import Failure
from .snapshot import can_snapshot, restore_snapshot, take_snapshot


class CheckedChoices(spaces.MultiDiscrete):
    """Choices that were checked before they come here: Gymnasium's own environments would look once more, for 6 us."""

    def contains(self, x: Any) -> bool:
        """True."""
        return True


class VectorBackend(Backend):
    """Steps a vector environment that the environment's package brings along, in its own auto-reset mode.

    It can be seeded only as a whole. To resume, its plain attributes are set back, where it has no others.
    """

    name = "vector"

    def __init__(self, env: VectorEnv, seed: int):
        self.env = env
        own = isinstance(env, FastCartPole) or type(env).__module__.startswith("gymnasium.envs.")
        if own and type(choices := env.action_space) is spaces.MultiDiscrete:
            env.action_space = CheckedChoices(choices.nvec, dtype=choices.dtype.type, start=choices.start)
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
        if type(obs) is np.ndarray and obs.dtype == self.observation_space.dtype:
            self.obs = with_shape(obs, self.obs.shape, "observations").copy()
        else:
            self.failures = []
            self.obs = checked_copy(self.observation_space, obs, self.failures)
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
            with_shape(np.array(reward, np.float64), (self.num_envs,), "rewards"),
            with_shape(np.array(terminated, bool), (self.num_envs,), "terminated"),
            with_shape(np.array(truncated, bool), (self.num_envs,), "truncated"),
            info,
        )

    def render(self, index: int) -> np.ndarray:
        """Picture of one environment."""
        frames: Any = self.env.render()
        return frames[index]

    def close(self) -> None:
        """Close the vector environment."""
        close_env(self.env)

    def state_dict(self) -> dict[str, Any]:
        """A snapshot where that is everything; otherwise only how often it was started."""
        state: dict[str, Any] = {"starts": self.starts}
        # It may have come to hold something else since it was made.
        if self.exact_resume and can_snapshot(self.env):
            state |= {"snapshot": take_snapshot(self.env), "obs": tree_leaves(self.obs)}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Set the snapshot back; without one begin new episodes."""
        self.starts = state["starts"]
        # Checkpoints of before may hold one of what cannot be set back.
        if not self.exact_resume or "snapshot" not in state:
            self._start()
            return False
        restore_snapshot(self.env, state["snapshot"])
        self.obs = tree_like(self.obs, (np.array(leaf) for leaf in state["obs"]))
        return True


def with_shape(values: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The values; a `ValueError` where they have another shape."""
    if values.shape != shape:
        raise ValueError(f"the vector environment returned {what} of shape {values.shape}, not {shape}")
    return values


def checked_copy(space: spaces.Space, obs: Any, failures: list[Failure], key: str = "") -> Any:
    """Copy a batch of observations, Dict observations with the keys of their space in its order.

    Whole numbers get the space's type; copies with a value that it cannot hold are added to `failures`.
    """
    match space:
        case spaces.Dict():
            return {
                name: checked_copy(part, obs[name], failures, f"{key}[{name!r}]")
                for name, part in space.items()
            }
        case spaces.Tuple():
            return tuple(checked_copy(part, obs[i], failures, f"{key}[{i}]") for i, part in enumerate(space))
    values, dtype = np.array(obs), np.dtype(space.dtype)
    assert space.shape is not None
    with_shape(values, (*values.shape[:1], *space.shape), f"observations{key}")
    if values.dtype == dtype:
        return values
    if values.dtype.kind == dtype.kind == "f":
        # As they are: the check of environments says so. What looks for infinity expects the space's type.
        beyond = np.isfinite(values) & ~np.isfinite(cast(values, dtype))
        for i in np.unique(np.argwhere(beyond)[:, 0]).tolist():
            failures.append(Failure(i, f"returned {values[i][beyond[i]][0]:g}{key}, infinite as {dtype}"))
        return values
    try:
        return cast(values, dtype, key)
    except ValueError:
        for i, row in enumerate(values):
            try:
                cast(row, dtype, key)
            except ValueError as error:
                failures.append(Failure(i, f"returned {error}"))
    return values
