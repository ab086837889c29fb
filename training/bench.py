"""Throughput and memory, side by side with the baselines: alternating runs on one machine, in one process tree."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .config import UsageError, nearest
from .tracking import read_metrics

# Steps whose time is not counted: compiling, first allocations, filling a replay buffer.
WARM_UP = 0.2


@dataclass(frozen=True)
class Benchmark:
    """One task, the same hyper-parameters for both sides."""

    env: str
    num_envs: int
    steps: int
    agent: str
    ours: dict[str, Any]
    """Blocks of a run's config: agent, encoder, memory."""
    algorithm: str
    """Stable-Baselines3's class."""
    theirs: dict[str, Any]
    """Its keyword arguments."""


BENCHMARKS = {
    "ppo-cartpole": Benchmark(
        env="CartPole-v1",
        num_envs=8,
        steps=200_000,
        agent="ppo",
        ours={
            "agent": {
                "rollout_length": 128,
                "batch_size": 256,
                "epochs": 4,
                "learning_rate": 1e-3,
                "gamma": 0.98,
            },
            "encoder": {"name": "mlp", "hidden": [64, 64], "activation": "tanh"},
        },
        algorithm="PPO",
        theirs={"n_steps": 128, "batch_size": 256, "n_epochs": 4, "learning_rate": 1e-3, "gamma": 0.98},
    ),
}


def bench(names: list[str], repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run benchmarks by name (all when none is named); see the command's help for the result's fields."""
    for name in names:
        if name not in BENCHMARKS:
            raise UsageError(f"unknown benchmark {name!r}; {nearest(name, BENCHMARKS)}")
    results = []
    for name in names or list(BENCHMARKS):
        runs: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
        for repeat in range(repeats):
            for side, done in runs.items():
                done.append(_run_worker(name, side, seed=repeat))
                say(f"{name} {side} {repeat + 1}/{repeats}: {done[-1]['steps_per_second']:,.0f} steps/s")
        results.append(_summarize(name, runs))
    return {"results": results, "machine": machine()}


def _summarize(name: str, runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    def median(side: str, key: str) -> float:
        return statistics.median(run[key] for run in runs[side])

    pairs = zip(runs["ours"], runs["theirs"], strict=True)
    return {
        "name": name,
        "peer": f"stable-baselines3 {BENCHMARKS[name].algorithm}",
        "unit": "environment steps per second of training, after warm-up",
        "ours": median("ours", "steps_per_second"),
        "theirs": median("theirs", "steps_per_second"),
        "ratio": statistics.median(a["steps_per_second"] / b["steps_per_second"] for a, b in pairs),
        "return_ours": median("ours", "return"),
        "return_theirs": median("theirs", "return"),
        "peak_mb_ours": median("ours", "peak_mb"),
        "peak_mb_theirs": median("theirs", "peak_mb"),
        "seconds_ours": median("ours", "seconds"),
        "seconds_theirs": median("theirs", "seconds"),
        "runs": len(runs["ours"]),
    }


def format_bench(report: dict[str, Any]) -> str:
    """Lay a report out for reading."""
    lines = [
        f"{'benchmark':<24}{'ours':>12}{'theirs':>12}{'ratio':>8}   return ours/theirs   peak MB ours/theirs"
    ]
    for row in report["results"]:
        returns = f"{row['return_ours']:.1f} / {row['return_theirs']:.1f}"
        memory = f"{row['peak_mb_ours']:.0f} / {row['peak_mb_theirs']:.0f}"
        speed = f"{row['ours']:>12,.0f}{row['theirs']:>12,.0f}{row['ratio']:>8.2f}"
        lines.append(f"{row['name']:<24}{speed}   {returns:<20} {memory}")
    return "\n".join([*lines, f"ours and theirs: {report['results'][0]['unit']}"])


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": 1,
    }


# (environment steps, seconds on some clock)
Ticks = list[tuple[int, float]]


def _run_worker(name: str, side: str, seed: int) -> dict[str, float]:
    """Measure one side in a process of its own, so that peak memory is its own too."""
    command = [sys.executable, "-W", "ignore", "-m", "palaestra.training.bench", name, side, str(seed)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(f"benchmark {name} ({side}) failed:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def _worker(name: str, side: str, seed: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    benchmark = BENCHMARKS[name]
    started = time.perf_counter()
    ticks, evaluate = (_train_ours if side == "ours" else _train_theirs)(benchmark, seed)
    seconds = time.perf_counter() - started
    late = [tick for tick in ticks if tick[0] >= WARM_UP * benchmark.steps]
    return {
        "steps_per_second": (late[-1][0] - late[0][0]) / (late[-1][1] - late[0][1]),
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "return": evaluate(),
    }


def _train_ours(benchmark: Benchmark, seed: int) -> tuple[Ticks, Callable[[], float]]:
    from .build import evaluation_spec
    from .config import run_config
    from .evaluate import evaluate
    from .run import load_run, start_run

    config = run_config(
        {
            "agent": {"name": benchmark.agent, **benchmark.ours.get("agent", {})},
            "env": benchmark.env,
            "steps": benchmark.steps,
            "seed": seed,
            "num_envs": benchmark.num_envs,
            "encoder": benchmark.ours.get("encoder", {"name": "mlp"}),
            "memory": benchmark.ours.get("memory", {"name": "none"}),
            "log_every": benchmark.steps // 50,
            # Only training counts, on both sides.
            "evaluate_every": benchmark.steps,
            "checkpoint_every": benchmark.steps,
            "compile": "on",
            "track": "none",
        }
    )
    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        start_run(config, run_dir)
        run = load_run(run_dir)
        seconds = [
            (int(row["step"]), row["time/total"]) for row in read_metrics(run_dir) if "time/total" in row
        ]
    return seconds, lambda: float(np.mean(evaluate(run.agent, evaluation_spec(config), 20).returns))


def _train_theirs(benchmark: Benchmark, seed: int) -> tuple[Ticks, Callable[[], float]]:
    from .baselines import evaluate_baseline, train_baseline

    model, ticks = train_baseline(
        benchmark.algorithm,
        benchmark.env,
        num_envs=benchmark.num_envs,
        steps=benchmark.steps,
        seed=seed,
        options=benchmark.theirs,
        log_every=benchmark.steps // 50,
    )
    return ticks, lambda: evaluate_baseline(model, benchmark.env, episodes=20, seed=1_000_000)


if __name__ == "__main__":
    print(json.dumps(_worker(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
