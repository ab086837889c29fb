"""Stable-Baselines3 as its users use it, for measuring its speed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .algorithms import find_baseline
from .config import make_action_noise
from .model import choose_policy


def train_peer(
    algorithm: str, env: str, *, num_envs: int, steps: int, seed: int, options: dict[str, Any], log_every: int
) -> tuple[Any, list[tuple[int, float]]]:
    """Train Stable-Baselines3's `sb3/ALGORITHM` as its users would, on its own environments.

    Returns:
        The trained model, and `(step, seconds on the clock)` about every `log_every` steps.

    Raises:
        UsageError: the library has no such algorithm.
    """
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

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
        noise = make_action_noise(
            "gaussian", options["noise_std"], int(np.prod(envs.action_space.shape or ()))
        )
        options = {**options, "action_noise": noise}
        del options["noise_std"]
    try:
        peer = find_baseline(f"sb3/{algorithm}").algorithm
        policy = choose_policy("auto", peer, envs.observation_space)
        model = peer(policy, envs, seed=seed, device="cpu", **options)
        model.learn(steps, callback=ticks)
    finally:
        envs.close()
    return model, ticks.ticks


def evaluate_peer(model: Any, env: str, episodes: int, seed: int) -> float:
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


def make_peer_replay(capacity: int, num_envs: int) -> Any:
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
