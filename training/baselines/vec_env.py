"""Our environments and dreams as Stable-Baselines3 wants vector environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from ...envs.autoreset import BackendEnvs
from ...envs.backends.native import VectorBackend
from ...envs.vector import Envs, Episode
from ...networks.tree import read_row


def as_vec_env(
    envs: Envs | VectorEnv, report: Callable[[list[Episode]], None] = lambda episodes: None, seed: int = 0
) -> Any:
    """Return environments as a `VecEnv`, so that Stable-Baselines3's algorithms train in exactly what ours do.

    Observations of ended episodes come as SB3 expects them: the next episode's first one, with the true successor
    in `info["terminal_observation"]` and `TimeLimit.truncated` where it was cut short and not over.

    Args:
        envs: environments, or a vector environment such as a dream.
        report: called with the episodes that end, before anything normalises their rewards.
        seed: what a vector environment is reset with; `Envs` have a seed already.

    Raises:
        ValueError: the backend spends steps on resetting, which SB3 would learn from.
    """
    from stable_baselines3.common.vec_env import VecEnv

    inner = BackendEnvs(VectorBackend(envs, seed)) if isinstance(envs, VectorEnv) else envs
    if inner.resets_in_steps:
        raise ValueError(
            f"backend '{inner.backend}' resets in steps of their own, from which Stable-Baselines3 would learn; "
            "use sync or async"
        )

    class View(VecEnv):
        def __init__(self) -> None:
            self.actions: Any = None
            self.obs: Any = None
            self.restored = False
            super().__init__(inner.num_envs, inner.observation_space, inner.action_space)

        def restore(self, begun: bool) -> None:
            """Go on from where the environments were brought; the next reset shows what has `begun` there."""
            self.obs, self.restored = inner.obs, begun

        def reset(self) -> Any:
            if self.restored:
                self.restored = False
                return self.obs
            # Who resets in between, as ARS does, wants other episodes than the first ones again.
            self.obs = inner.reset() if self.obs is None else inner.begin_next()
            return self.obs

        def step_async(self, actions: Any) -> None:
            self.actions = actions

        def step_wait(self) -> Any:
            step = inner.step(self.actions)
            report(step.episodes)
            infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            done = step.terminated | step.truncated
            for i in np.flatnonzero(done).tolist():
                cut = bool(step.truncated[i] and not step.terminated[i])
                infos[i] = {"terminal_observation": read_row(step.next_obs, i), "TimeLimit.truncated": cut}
            for episode in step.episodes:
                infos[episode.env_index]["episode"] = {
                    "r": episode.episode_return,
                    "l": episode.length,
                    "t": 0.0,
                }
            self.obs = step.obs
            return step.obs, step.reward.astype(np.float32), done, infos

        def close(self) -> None:
            inner.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            rows = self._get_indices(indices)
            if attr_name == "render_mode":
                return [None for _ in rows]
            if attr_name == "action_masks" and isinstance(self.obs, dict) and "action_mask" in self.obs:
                return [self.obs["action_mask"][i] != 0 for i in rows]
            return [getattr(envs, attr_name) for _ in rows]

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise AttributeError("these environments are not changed one by one")

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            if method_name == "action_masks":
                return self.get_attr(method_name, indices)
            raise AttributeError(f"these environments have no method {method_name!r} of their own")

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False for _ in self._get_indices(indices)]

    return View()
