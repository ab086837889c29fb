"""Stable-Baselines3 in the same environments. The only file that imports it, and only when asked."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..world_models.dream import Dream


def train_baseline(
    algorithm: str, env: str, *, num_envs: int, steps: int, seed: int, options: dict[str, Any], log_every: int
) -> tuple[Any, list[tuple[int, float]]]:
    """Train `sb3_contrib` or `stable_baselines3` algorithm `algorithm` as its users would, on its own environments.

    Returns:
        The trained model, and `(step, seconds on the clock)` about every `log_every` steps.

    Raises:
        ValueError: the library has no such algorithm.
    """
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.noise import NormalActionNoise

    class Ticks(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.ticks: list[tuple[int, float]] = []

        def _on_step(self) -> bool:
            if self.num_timesteps // log_every > (self.num_timesteps - num_envs) // log_every:
                self.ticks.append((self.num_timesteps, time.perf_counter()))
            return True

    ticks = Ticks()
    envs = make_vec_env(env, n_envs=num_envs, seed=seed)
    if "noise_std" in options:
        shape = envs.action_space.shape
        assert shape is not None
        noise = NormalActionNoise(np.zeros(shape), np.full(shape, options["noise_std"]))
        options = {name: value for name, value in options.items() if name != "noise_std"} | {
            "action_noise": noise
        }
    try:
        model = find_algorithm(algorithm)("MlpPolicy", envs, seed=seed, device="cpu", **options)
        model.learn(steps, callback=ticks)
    finally:
        envs.close()
    return model, ticks.ticks


def checkers() -> dict[str, Callable[[Any], None]]:
    """Stable-Baselines3's checker of environments by name, if it is installed."""
    if importlib.util.find_spec("stable_baselines3") is None:
        return {}

    def check(env: Any) -> None:
        from stable_baselines3.common.env_checker import check_env

        check_env(env)

    return {"Stable-Baselines3's checker": check}


def find_algorithm(name: str) -> Callable[..., Any]:
    """Return the algorithm class called `name` in Stable-Baselines3 or its contributed algorithms."""
    import sb3_contrib
    import stable_baselines3

    for library in (stable_baselines3, sb3_contrib):
        if name in library.__all__:
            return getattr(library, name)
    raise ValueError(f"neither stable_baselines3 nor sb3_contrib has an algorithm {name!r}")


def evaluate_baseline(model: Any, env: str, episodes: int, seed: int) -> float:
    """Mean return of `episodes` full episodes with deterministic actions."""
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    envs = make_vec_env(env, n_envs=1, seed=seed)
    try:
        mean, _ = evaluate_policy(model, envs, n_eval_episodes=episodes, deterministic=True)
    finally:
        envs.close()
    assert isinstance(mean, float)
    return mean


def make_replay(capacity: int, num_envs: int) -> Any:
    """Stable-Baselines3's replay for Atari frames, in the form that stores each of them once."""
    from gymnasium import spaces
    from stable_baselines3.common.buffers import ReplayBuffer

    return ReplayBuffer(
        capacity,
        spaces.Box(0, 255, (1, 84, 84), np.uint8),
        spaces.Discrete(6),
        device="cpu",
        n_envs=num_envs,
        optimize_memory_usage=True,
        handle_timeout_termination=False,
    )


def as_vec_env(dream: Dream) -> Any:
    """Return a dream as Stable-Baselines3 wants vector environments, so that its algorithms train in it too."""
    from stable_baselines3.common.vec_env import VecEnv

    class DreamVecEnv(VecEnv):
        def __init__(self) -> None:
            self.actions: Any = None
            super().__init__(dream.num_envs, dream.single_observation_space, dream.single_action_space)

        def reset(self) -> Any:
            # SB3 seeds with `seed` and expects the next reset to use it.
            seeds = [seed for seed in self._seeds if seed is not None]
            obs, _ = dream.reset(seed=seeds[0] if seeds else None)
            self._reset_seeds()
            return obs

        def step_async(self, actions: Any) -> None:
            self.actions = actions

        def step_wait(self) -> Any:
            obs, reward, terminated, truncated, info = dream.step(self.actions)
            infos: list[dict[str, Any]] = [{} for _ in range(dream.num_envs)]
            done = terminated | truncated
            for i in done.nonzero()[0].tolist():
                cut = bool(truncated[i] and not terminated[i])
                infos[i] = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": cut}
            return obs, reward.astype("float32"), done, infos

        def close(self) -> None:
            dream.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(dream, attr_name)] * len(list(self._get_indices(indices)))

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise AttributeError("dreams are not changed one by one")

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            raise AttributeError("dreams have no methods of their own")

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * len(list(self._get_indices(indices)))

    return DreamVecEnv()
