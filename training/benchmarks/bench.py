"""Throughput and memory, side by side with other libraries: alternating runs on one machine, in one process tree."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..settings.config import RunConfig, run_config
from ..settings.seeds import EVALUATION_SEED
from ..settings.usage import UsageError, nearest
from ..tracking.metrics_file import read_metrics
from ..tracking.progress import duration
from ..tracking.provenance import surroundings
from ..tracking.return_text import return_text
from .peers import TRAIN, missing
from .tasks import BENCHMARKS, Benchmark, ReplayBenchmark

# Steps whose time is not counted: compiling, first allocations, filling a replay buffer.
WARM_UP = 0.2


def bench(names: list[str], repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run benchmarks by name (all when none is named); see the command's help for the result's fields.

    What is not installed is passed over with a line. Before anything runs, `say` tells how long it will take.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise UsageError(f"unknown benchmark {name!r}; {nearest(name, BENCHMARKS)}")
    chosen = []
    for name in names or [name for name in BENCHMARKS if seeds_of(name) == 1]:
        if reason := missing(BENCHMARKS[name]):
            say(f"{name}: passed over, {reason}")
        else:
            chosen.append(name)
    left = repeats * sum(BENCHMARKS[name].seconds for name in chosen)
    if chosen:
        count = f"{len(chosen)} benchmarks, {repeats} runs of each side"
        say(f"{count}: about {duration(left)} where nothing else runs")
    results = []
    for name in chosen:
        runs: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
        if seeds_of(name) > 1:
            runs["alone"] = []
        for repeat in range(repeats):
            for side, done in runs.items():
                head = f"{name} {side} {repeat + 1}/{repeats}"
                done.append(_run_worker(name, side, repeat, say, head))
                say(f"{head}: {done[-1]['per_second']:,.0f} a second")
            left -= BENCHMARKS[name].seconds
            if left:
                say(f"about {duration(left)} left")
        results.append(_summarize(name, runs))
    return {"results": results, **surroundings()}


def seeds_of(name: str) -> int:
    """Runs of ours that a benchmark trains together."""
    return getattr(BENCHMARKS[name], "seeds", 1)


def _summarize(name: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    def median(side: str, key: str) -> float | None:
        values = [value for run in runs[side] if (value := run[key]) is not None]
        return statistics.median(values) if values else None

    pairs = zip(runs["ours"], runs["theirs"], strict=True)
    alone: dict[str, Any] = {}
    if "alone" in runs:
        both = zip(runs["ours"], runs["alone"], strict=True)
        alone = {
            "seeds": seeds_of(name),
            "alone": median("alone", "per_second"),
            "ratio_alone": statistics.median(a["per_second"] / b["per_second"] for a, b in both),
            "peak_mb_alone": median("alone", "peak_mb"),
        }
    return {
        **alone,
        "name": name,
        "peer": f"{BENCHMARKS[name].peer} {BENCHMARKS[name].algorithm}",
        "unit": BENCHMARKS[name].unit,
        "ours": median("ours", "per_second"),
        "theirs": median("theirs", "per_second"),
        "ratio": statistics.median(a["per_second"] / b["per_second"] for a, b in pairs),
        "return_ours": median("ours", "return"),
        "return_theirs": median("theirs", "return"),
        "peak_mb_ours": median("ours", "peak_mb"),
        "peak_mb_theirs": median("theirs", "peak_mb"),
        "seconds_ours": median("ours", "seconds"),
        "seconds_theirs": median("theirs", "seconds"),
        "threads": getattr(BENCHMARKS[name], "threads", 1),
        "runs": len(runs["ours"]),
    }


def format_bench(report: dict[str, Any]) -> str:
    """Lay a report out for reading."""
    lines = [
        f"{'benchmark':<24}{'ours':>12}{'theirs':>12}{'ratio':>8}   return ours/theirs   peak MB ours/theirs"
    ]
    for row in report["results"]:
        returns = " / ".join(
            "-" if x is None else return_text(x) for x in (row["return_ours"], row["return_theirs"])
        )
        memory = f"{row['peak_mb_ours']:.0f} / {row['peak_mb_theirs']:.0f}"
        speed = f"{row['ours']:>12,.0f}{row['theirs']:>12,.0f}{row['ratio']:>8.2f}"
        lines.append(f"{row['name']:<24}{speed}   {returns:<20} {memory}")
    lines += [
        f"{row['name']}: {row['seeds']} seeds together, {row['ratio_alone']:.2f} x one of ours alone "
        f"({row['alone']:,.0f}; {row['peak_mb_alone']:.0f} MB)"
        for row in report["results"]
        if "seeds" in row
    ]
    units = {
        f"{row['name']}: {row['unit']} ({row['threads']} torch threads)": None for row in report["results"]
    }
    return "\n".join([*lines, *units])


# (environment steps, seconds on some clock)
Ticks = list[tuple[int, float]]


# Seconds between two lines that say that a run is still going on.
STILL_RUNNING = 10.0


def _run_worker(name: str, side: str, seed: int, say: Callable[[str], None], head: str) -> dict[str, Any]:
    """Measure one side in a process of its own, so that peak memory is its own too; lines begin with `head`."""
    module = "palaestra.training.benchmarks.bench"
    command = [sys.executable, "-W", "ignore", "-m", module, name, side, str(seed)]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as worker:
        while True:
            try:
                output, errors = worker.communicate(timeout=STILL_RUNNING)
                break
            except subprocess.TimeoutExpired:
                both = BENCHMARKS[name].seconds
                say(
                    f"{head}: {time.perf_counter() - started:.0f} s (both sides take about {both} s together)"
                )
            except BaseException:
                worker.kill()
                raise
    if worker.returncode != 0:
        raise RuntimeError(f"benchmark {name} ({side}) failed:\n{errors}")
    return json.loads(output.splitlines()[-1])


def _worker(name: str, side: str, seed: int) -> dict[str, float | None]:
    benchmark = BENCHMARKS[name]
    started = time.perf_counter()
    if isinstance(benchmark, ReplayBenchmark):
        measured = (_draw_ours if side == "ours" else _draw_theirs)(benchmark, seed)
    elif side == "theirs" and benchmark.peer in TRAIN:
        measured = TRAIN[benchmark.peer](benchmark, seed)
    else:
        measured = _train(benchmark, side, seed)
    return {
        "seconds": time.perf_counter() - started,
        "peak_mb": peak_megabytes(),
        **measured,
    }


def peak_megabytes() -> float:
    """The most memory that this process has held so far; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux kilobytes.
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _train(benchmark: Benchmark, side: str, seed: int) -> dict[str, float | None]:
    import torch

    torch.set_num_threads(benchmark.threads)
    train = {"ours": _train_ours, "alone": _train_ours, "theirs": _train_theirs}[side]
    if side == "ours" and benchmark.seeds > 1:
        train = _train_together
    ticks, evaluate = train(benchmark, seed)
    late = [tick for tick in ticks if tick[0] >= WARM_UP * ticks[-1][0]]
    return {"per_second": (late[-1][0] - late[0][0]) / (late[-1][1] - late[0][1]), "return": evaluate()}


def _train_ours(benchmark: Benchmark, seed: int) -> tuple[Ticks, Callable[[], float]]:
    from ..run.build import evaluation_spec
    from ..run.evaluate import evaluate
    from ..run.loaded import load_run
    from ..run.start import start_run

    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        start_run(_config_of(benchmark, seed), run_dir)
        run = load_run(run_dir)
        seconds = _ticks(run_dir)
    return seconds, lambda: float(np.mean(evaluate(run.agent, evaluation_spec(run.config), 20).returns))


def _train_together(benchmark: Benchmark, seed: int) -> tuple[Ticks, Callable[[], float]]:
    from ..groups.start import start_group

    seeds = range(seed * benchmark.seeds, (seed + 1) * benchmark.seeds)
    with TemporaryDirectory() as folder:
        run_dirs = [Path(folder) / f"seed{each}" for each in seeds]
        done = start_group(_config_of(benchmark, seed), seeds, run_dirs)
        each = [_ticks(run_dir) for run_dir in run_dirs]
    # Rows that belong together are written within a few steps of each other; at the last ones some runs have ended,
    # and been evaluated.
    together = list(zip(*each, strict=False))[:-1]
    rows = [(sum(step for step, _ in row), max(second for _, second in row)) for row in together]
    returns = [result.evaluation.returns for result in done.results if result and result.evaluation]
    return rows, lambda: float(np.mean(returns))


def _ticks(run_dir: Path) -> Ticks:
    rows = read_metrics(run_dir)
    return [(int(row["step"]), row["time/total"]) for row in rows if "time/total" in row]


def _config_of(benchmark: Benchmark, seed: int) -> RunConfig:
    return run_config(
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
            "threads": benchmark.threads,
            "track": "none",
        }
    )


def _train_theirs(benchmark: Benchmark, seed: int) -> tuple[Ticks, Callable[[], float]]:
    from ..baselines.speed import evaluate_peer, train_peer

    model, ticks = train_peer(
        benchmark.algorithm,
        benchmark.env,
        num_envs=benchmark.num_envs,
        steps=benchmark.steps,
        seed=seed,
        options=benchmark.theirs,
        log_every=benchmark.steps // 50,
    )
    return ticks, lambda: evaluate_peer(model, benchmark.env, episodes=20, seed=EVALUATION_SEED)


def _draw_ours(benchmark: ReplayBenchmark, seed: int) -> dict[str, float | None]:
    from ...agents.agent import Transition
    from ...agents.storage.replay import Replay

    num_envs, generator = benchmark.num_envs, np.random.default_rng(seed)
    replay = Replay(benchmark.frames)
    for obs, next_obs, reward, done in _frames(benchmark, generator):
        numbers = np.zeros(num_envs, np.int64)
        never = np.zeros(num_envs, bool)
        state = np.zeros((num_envs, 0), np.float32)
        replay.add(Transition(obs, numbers, reward, done, never, next_obs, never, state))
    return _draw(benchmark, lambda: replay.sample(benchmark.batch_size, generator))


def _draw_theirs(benchmark: ReplayBenchmark, seed: int) -> dict[str, float | None]:
    from ..baselines.speed import make_peer_replay

    num_envs, generator = benchmark.num_envs, np.random.default_rng(seed)
    replay = make_peer_replay(benchmark.frames, num_envs)
    for obs, next_obs, reward, done in _frames(benchmark, generator):
        replay.add(obs, next_obs, np.zeros(num_envs, np.int64), reward, done, [{}] * num_envs)
    return _draw(benchmark, lambda: replay.sample(benchmark.batch_size))


def _frames(benchmark: ReplayBenchmark, generator: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield (obs, next_obs, reward, done) until a replay of `frames` is full."""
    frames = generator.integers(0, 256, (64, benchmark.num_envs, 1, 84, 84), np.uint8)
    reward = np.zeros(benchmark.num_envs, np.float32)
    for t in range(benchmark.frames // benchmark.num_envs):
        done = generator.random(benchmark.num_envs) < 0.001
        yield frames[t % 64], frames[(t + 1) % 64], reward, done


def _draw(benchmark: ReplayBenchmark, sample: Callable[[], Any]) -> dict[str, float | None]:
    count, started = 5000, time.perf_counter()
    for _ in range(count):
        sample()
    return {
        "per_second": count * benchmark.batch_size / (time.perf_counter() - started),
        "return": None,
    }


if __name__ == "__main__":
    print(json.dumps(_worker(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
