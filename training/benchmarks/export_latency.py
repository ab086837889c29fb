"""How long one action takes: of an exported policy, of `policy.predict`, and of Stable-Baselines3's `predict`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...envs.make import EnvSpec, make_envs
from ...networks.tree import read_row
from ..baselines.speed import train_peer
from ..export.check import initial_states
from ..export.export import export_loaded, exported_policy
from ..export.formats import choose_format, onnx_runner
from ..run.loaded import load_run
from ..run.policy import LoadedPolicy
from ..run.start import start_run
from ..settings.config import run_config
from ..settings.usage import UsageError

CALLS = 500
ROUNDS = 9
NO_VEL = "palaestra/CartPoleNoVel-v0"
PPO = {"name": "ppo", "rollout_length": 32}
# What is measured: the run, and Stable-Baselines3's algorithm for it where there is one.
CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    "CartPole": ({"agent": PPO, "env": "CartPole-v1"}, "ppo"),
    "Pendulum": ({"agent": {"name": "ddpg", "learning_starts": 50}, "env": "Pendulum-v1"}, "ddpg"),
    "NoVel-lstm": ({"agent": PPO, "env": NO_VEL, "memory": "lstm"}, "recurrent_ppo"),
    "NoVel-gru": ({"agent": PPO, "env": NO_VEL, "memory": "gru"}, None),
    "NoVel-transformer": ({"agent": PPO, "env": NO_VEL, "memory": "transformer"}, None),
    "CartPolePixels": ({"agent": PPO, "env": "palaestra/CartPolePixels-v0", "encoder": "cnn"}, "ppo"),
}
# Just enough for there to be a model.
PEER_OPTIONS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 64, "batch_size": 64},
    "recurrent_ppo": {"n_steps": 64, "batch_size": 64},
    "ddpg": {"learning_starts": 50},
}


def bench_export(names: list[str], say: Callable[[str], None]) -> dict[str, Any]:
    """Measure microseconds of processor time for an action of one environment, in alternating rounds; medians count.

    All on one thread, with the default networks of each library. Nothing needs to be learned for it.
    """
    if unknown := set(names) - CASES.keys():
        raise UsageError(f"there is no {sorted(unknown)[0]!r}; there are: {', '.join(CASES)}")
    choose_format("onnx", None)
    results = []
    for name in names or list(CASES):
        say(f"measuring {name}")
        results.append({"name": name} | _measure(*CASES[name]))
    return {"unit": "us", "results": results}


def _measure(values: dict[str, Any], algorithm: str | None) -> dict[str, Any]:
    settings = {"steps": 256, "num_envs": 4, "evaluate_episodes": 1, "track": "none", "threads": 1}
    config = run_config(values | settings)
    with tempfile.TemporaryDirectory() as folder:
        start_run(config, Path(folder) / "run")
        run, file = load_run(Path(folder) / "run", device="cpu"), Path(folder) / "policy.onnx"
        exported = exported_policy(run)
        export_loaded(run, exported, "onnx", file)
        session = onnx_runner(file)
    torch.set_num_threads(1)
    policy = LoadedPolicy(run.agent, run.observation_space, run.action_space)
    with closing(make_envs(EnvSpec(config.env, 1))) as envs:
        obs = read_row(envs.reset(), 0)

    begun = np.zeros(1, bool)
    states = initial_states(exported, 1)

    def act_exported() -> None:
        feeds = {port.name: obs[None] for port in exported.inputs if port.role == "observation"}
        if states:
            feeds |= {"first": begun, "state": states["state"]}
        outputs = session(feeds)
        if states:
            states["state"] = outputs["next_state"]

    memory: list[Any] = [None]

    def act_predict() -> None:
        _, memory[0] = policy.predict(obs, memory[0], deterministic=True)

    contestants = {"exported": act_exported, "predict": act_predict}
    if algorithm is not None:
        options = PEER_OPTIONS[algorithm]
        model, _ = train_peer(
            algorithm, config.env, num_envs=1, steps=64, seed=0, options=options, log_every=64
        )
        theirs: list[Any] = [None]

        def act_peer() -> None:
            _, theirs[0] = model.predict(obs, theirs[0], episode_start=begun, deterministic=True)

        contestants["sb3"] = act_peer
    times = _alternate(contestants)
    ratios = {f"of_{name}": times["exported"] / other for name, other in times.items() if name != "exported"}
    return times | ratios


def _alternate(contestants: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median microseconds of a call of each."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for act in contestants.values():
        for _ in range(CALLS // 5):
            act()
    for _ in range(ROUNDS):
        for name, act in contestants.items():
            before = time.process_time()
            for _ in range(CALLS):
                act()
            found[name].append((time.process_time() - before) / CALLS * 1e6)
    return {name: statistics.median(rounds) for name, rounds in found.items()}


def format_bench_export(report: dict[str, Any]) -> str:
    """As a table."""
    head = f"{'':18}{'exported':>10}{'predict':>10}{'SB3':>10}{'of predict':>12}{'of SB3':>8}"
    lines = [head]
    for row in report["results"]:
        sb3, of_sb3 = (
            f"{row[key]:.{digits}f}" if key in row else "-" for key, digits in (("sb3", 1), ("of_sb3", 2))
        )
        lines.append(
            f"{row['name']:18}{row['exported']:10.1f}{row['predict']:10.1f}{sb3:>10}{row['of_predict']:12.2f}{of_sb3:>8}"
        )
    return "\n".join([*lines, "microseconds of processor time for one action of one environment, medians"])
