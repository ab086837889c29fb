"""Options of `palaestra bench`, and what it calls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..settings.arguments import parse
from ..settings.usage import UsageError, as_usage_errors


@dataclass(frozen=True)
class BenchOptions:
    """Throughput and memory beside Stable-Baselines3, in alternating runs with the same hyper-parameters."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Benchmarks; all of them when none is named."""
    repeats: int = 3
    """Runs of each side; the median counts."""
    json: bool = False
    """Print one JSON object."""


def bench(arguments: list[str]) -> int:
    """Measure."""
    if arguments[:1] == ["envs"]:
        return bench_envs(arguments[1:])
    if arguments[:1] == ["dream"]:
        return bench_dream(arguments[1:])
    options = parse(BenchOptions, arguments, "bench")
    if options.repeats < 1:
        raise UsageError(f"--repeats: must be at least 1, got {options.repeats}")
    from ..benchmarks.bench import bench as measure
    from ..benchmarks.bench import format_bench
    from ..tracking.progress import say

    report = measure(list(options.names), options.repeats, say)
    print(json.dumps(report) if options.json else format_bench(report))
    return 0


@dataclass(frozen=True)
class BenchEnvsOptions:
    """Which backend steps an environment fastest."""

    env: Annotated[str, tyro.conf.Positional] = "CartPole-v1"
    """Gymnasium id; module:Id or module:Class imports the module first."""
    num_envs: tuple[int, ...] = (1, 8, 64)
    """Numbers of copies."""
    seconds: float = 1.0
    """Time for each measurement."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment, NAME=VALUE each."""
    wrappers: tuple[str, ...] = ()
    """Wrappers by name, innermost first."""
    json: bool = False
    """Print one JSON object."""


def bench_envs(arguments: list[str]) -> int:
    """Measure backends."""
    options = parse(BenchEnvsOptions, arguments, "bench envs")
    from ..benchmarks.env_speed import bench_envs as measure
    from ..benchmarks.env_speed import format_bench_envs
    from ..settings.train_options import parse_assignments
    from ..tracking.progress import say

    if not options.seconds > 0:
        raise UsageError(f"--seconds: must be above 0, got {options.seconds:g}")
    kwargs = parse_assignments(options.env_kwargs, "--env-kwargs")
    with as_usage_errors():
        counts = list(options.num_envs)
        report = measure(options.env, counts, options.seconds, kwargs, options.wrappers, say)
    if all("error" in row for row in report["results"]):
        raise UsageError(report["results"][0]["error"])
    print(json.dumps(report) if options.json else format_bench_envs(report))
    return 0


@dataclass(frozen=True)
class BenchDreamOptions:
    """Dreamt steps per second, of all dreams together."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of a fitted world model; without one, unfitted networks of CartPole's size, one of each dynamics."""
    num_envs: tuple[int, ...] = (8, 64, 1024)
    """Dreams side by side."""
    seconds: float = 2.0
    """Time for each measurement."""
    threads: int = 1
    """Threads of torch; 0 leaves it to torch."""
    json: bool = False
    """Print one JSON object."""


def bench_dream(arguments: list[str]) -> int:
    """Measure dreams."""
    options = parse(BenchDreamOptions, arguments, "bench dream")
    for name, given in (("num-envs", options.num_envs), ("seconds", [options.seconds])):
        if not all(value > 0 for value in given):
            raise UsageError(f"--{name}: must be above 0")
    from ..benchmarks.dream_speed import bench_dream as measure
    from ..benchmarks.dream_speed import format_bench_dream
    from ..tracking.progress import say

    report = measure(options.model, list(options.num_envs), options.seconds, options.threads, say)
    print(json.dumps(report) if options.json else format_bench_dream(report))
    return 0
