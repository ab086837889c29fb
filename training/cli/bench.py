"""`palaestra bench`: throughput and memory beside other libraries, of backends, and of dreams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..settings.usage import UsageError, as_usage_errors
from .terminal.options import Count, CountOrZero, Counts, JsonSwitch, Positive, TrustSwitch, read_options
from .terminal.output import DONE, print_result


@dataclass(frozen=True)
class BenchOptions:
    """Throughput and memory beside other libraries, in alternating runs with the same hyper-parameters.

    What is not installed is passed over: Stable-Baselines3 (palaestra[baselines]), rejax and rlox (palaestra[peers]).
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Benchmarks; all of them when none is named."""
    repeats: Count = 3
    """Runs of each side; the median counts."""
    json: JsonSwitch = False


def bench(arguments: list[str]) -> int:
    """Measure."""
    if arguments[:1] == ["envs"]:
        return bench_envs(arguments[1:])
    if arguments[:1] == ["dream"]:
        return bench_dream(arguments[1:])
    if arguments[:1] == ["export-latency"]:
        return bench_export_latency(arguments[1:])
    options = read_options(BenchOptions, arguments, "bench")
    from ..benchmarks.bench import bench as measure
    from ..benchmarks.bench import format_bench
    from ..tracking.progress import say

    report = measure(list(options.names), options.repeats, say)
    print_result(report, options.json, format_bench)
    return DONE


@dataclass(frozen=True)
class BenchEnvsOptions:
    """Which backend steps an environment fastest."""

    env: Annotated[str, tyro.conf.Positional] = "CartPole-v1"
    """Gymnasium id; module:Id or module:Class imports the module first."""
    num_envs: Counts = (1, 8, 64)
    """Numbers of copies."""
    seconds: Positive = 1.0
    """Time for each measurement."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment, NAME=VALUE each."""
    wrappers: tuple[str, ...] = ()
    """Wrappers by name, innermost first."""
    json: JsonSwitch = False


def bench_envs(arguments: list[str]) -> int:
    """Measure backends."""
    options = read_options(BenchEnvsOptions, arguments, "bench envs")
    from ..benchmarks.env_speed import bench_envs as measure
    from ..benchmarks.env_speed import format_bench_envs
    from ..settings.train_options import parse_assignments
    from ..tracking.progress import say

    kwargs = parse_assignments(options.env_kwargs, "--env-kwargs")
    with as_usage_errors():
        counts = list(options.num_envs)
        report = measure(options.env, counts, options.seconds, kwargs, options.wrappers, say)
    if all("error" in row for row in report["results"]):
        raise UsageError(report["results"][0]["error"])
    print_result(report, options.json, format_bench_envs)
    return DONE


@dataclass(frozen=True)
class BenchDreamOptions:
    """Dreamt steps per second, of all dreams together."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of a fitted world model; without one, unfitted networks of CartPole's size, one of each dynamics."""
    num_envs: Counts = (8, 64, 1024)
    """Dreams side by side."""
    seconds: Positive = 2.0
    """Time for each measurement."""
    threads: CountOrZero = 1
    """Threads of torch; 0 leaves it to torch."""
    trust: TrustSwitch = False
    json: JsonSwitch = False


def bench_dream(arguments: list[str]) -> int:
    """Measure dreams."""
    options = read_options(BenchDreamOptions, arguments, "bench dream")
    from ..benchmarks.dream_speed import bench_dream as measure
    from ..benchmarks.dream_speed import format_bench_dream
    from ..tracking.progress import say

    report = measure(options.model, list(options.num_envs), options.seconds, options.threads, say)
    print_result(report, options.json, format_bench_dream)
    return DONE


@dataclass(frozen=True)
class BenchExportLatencyOptions:
    """How long one action takes: of exported policies, of `policy.predict` and of Stable-Baselines3's `predict`."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """CartPole, Pendulum, NoVel-lstm and so on; all of them when none is named."""
    json: JsonSwitch = False


def bench_export_latency(arguments: list[str]) -> int:
    """Measure single actions."""
    options = read_options(BenchExportLatencyOptions, arguments, "bench export-latency")
    from ..benchmarks.export_latency import bench_export, format_bench_export
    from ..tracking.progress import say

    print_result(bench_export(list(options.names), say), options.json, format_bench_export)
    return DONE
