"""Libraries besides Stable-Baselines3 that train the same: what the extra `palaestra[peers]` installs."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .tasks import Benchmark, ReplayBenchmark

# What each is imported by, and the extra that installs it.
PACKAGES = {
    "stable-baselines3": (("stable_baselines3", "sb3_contrib"), "baselines"),
    "rejax": (("rejax", "gymnax", "flax"), "peers"),
    "rlox": (("rlox",), "peers"),
}
Measured = dict[str, float | None]


def missing(benchmark: Benchmark | ReplayBenchmark) -> str | None:
    """What has to be installed before a benchmark's peer can be measured, in words; None where nothing has."""
    modules, extra = PACKAGES[benchmark.peer]
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} not installed (pip install 'palaestra[{extra}]')" if absent else None


def train_rejax(benchmark: Benchmark, seed: int) -> Measured:
    """PPO in JAX: training and environments are one compiled function; compiling is not counted."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    from rejax import get_algo

    options = benchmark.theirs
    steps_per_update = options["n_steps"] * benchmark.num_envs
    algorithm = get_algo("ppo").create(
        env=benchmark.env,
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (64, 64)},
        num_envs=benchmark.num_envs,
        num_steps=options["n_steps"],
        num_epochs=options["n_epochs"],
        num_minibatches=steps_per_update // options["batch_size"],
        learning_rate=options["learning_rate"],
        gamma=options["gamma"],
        gae_lambda=0.95,
        clip_eps=0.2,
        ent_coef=0.0,
        vf_coef=0.5,
        max_grad_norm=0.5,
        total_timesteps=benchmark.steps,
        eval_freq=benchmark.steps,  # once, at the end
        skip_initial_evaluation=True,
    )
    key = jax.random.PRNGKey(seed)
    train = jax.jit(algorithm.train).lower(key).compile()
    started = time.perf_counter()
    _, (_, returns) = jax.block_until_ready(train(key))
    seconds = time.perf_counter() - started
    return {"per_second": benchmark.steps / seconds, "return": float(np.asarray(returns)[-1].mean())}


def train_rlox(benchmark: Benchmark, seed: int) -> Measured:
    """PPO around a core in Rust; two runs of different length tell its speed without its start."""
    import torch
    from rlox.algorithms import PPO

    torch.set_num_threads(benchmark.threads)
    options = benchmark.theirs

    def train(steps: int) -> tuple[float, Any]:
        agent = PPO(
            benchmark.env,
            n_envs=benchmark.num_envs,
            seed=seed,
            n_steps=options["n_steps"],
            n_epochs=options["n_epochs"],
            batch_size=options["batch_size"],
            learning_rate=options["learning_rate"],
            gamma=options["gamma"],
            ent_coef=0.0,
            clip_vloss=False,
            anneal_lr=False,
        )
        started = time.perf_counter()
        result = agent.train(total_timesteps=steps)
        return time.perf_counter() - started, result

    short = benchmark.steps // 5
    warm_up, _ = train(short)
    seconds, result = train(benchmark.steps)
    found = result.get("mean_reward") if isinstance(result, dict) else None
    per_second = (benchmark.steps - short) / (seconds - warm_up)
    return {"per_second": per_second, "return": None if found is None else float(found)}


TRAIN: dict[str, Callable[[Benchmark, int], Measured]] = {"rejax": train_rejax, "rlox": train_rlox}
