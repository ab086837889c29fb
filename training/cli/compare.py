"""`palaestra compare`: agents against each other and against baselines."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .terminal.options import Count, CountOrZero, JsonSwitch, TrustSwitch, read_options
from .terminal.output import DONE, FAILURE, exit_code, print_result


@dataclass(frozen=True)
class CompareOptions:
    """Agents against each other and against baselines, with statistics and a report."""

    targets: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A suite (a file, or one that ships: see docs/compare.md), folders of finished runs or comparison.json files."""
    envs: tuple[str, ...] = ()
    """Only these environments of the suite; by default all."""
    agents: tuple[str, ...] = ()
    """Only these agents of the suite, as its report calls them: ppo, sb3/ppo; by default all."""
    seeds: str | None = None
    """Seeds instead of the suite's: 8 is 0 to 7, 100-104, or 3,5; 100-100 is one."""
    out: Path | None = None
    """Folder of the runs and the report; by default comparisons/NAME. What is there already is used again."""
    workers: CountOrZero = 0
    """Runs at a time, each on one thread; 0 is one a core, or what fits into the Ray cluster."""
    launcher: Literal["local", "ray"] = "local"
    """Processes of this machine, or tasks of a Ray cluster."""
    group_seeds: Literal["auto", "on", "off"] = "auto"
    """Train seeds of an agent in one process: auto where there are more runs than workers. Results are the same."""
    ray_address: str | None = None
    """Address of a Ray cluster, or auto for the one that this machine belongs to; by default one is started here."""
    ray_storage: Literal["auto", "shared", "carried"] = "auto"
    """Whether all nodes see the folder (shared), or files are sent through Ray (carried); auto: each node looks."""
    cpus_per_run: float = 1.0
    """CPUs that Ray keeps for a task; a run has one thread whatever they are."""
    gpus_per_run: float = 0.0
    """GPUs that Ray keeps for a task; 0.25 lets four share one."""
    episodes: Count | None = None
    """Evaluation episodes of each run, where folders are compared: by default 100; suites say their own."""
    wandb: bool = False
    """Put tables, charts and files into a W&B run, too, and into a Report where there is a network."""
    trust: TrustSwitch = False
    json: JsonSwitch = False


def compare(arguments: list[str]) -> int:
    """Train what is missing, score, report; exit code 1 if a run failed."""
    options = read_options(CompareOptions, arguments, "compare")
    from ..comparison.comparison import make_launcher, run_comparison
    from ..comparison.ray_launcher import RayOptions
    from ..comparison.suites import Part
    from ..groups.seeds import parse_seeds
    from ..run.signals import StoppedError

    seeds = () if options.seeds is None else tuple(parse_seeds(options.seeds))
    part = Part(options.envs, options.agents, seeds)
    ray = RayOptions(options.ray_address, options.cpus_per_run, options.gpus_per_run, options.ray_storage)
    launcher = make_launcher(options.launcher, options.workers, ray, options.group_seeds)
    try:
        compared = run_comparison(
            options.targets, launcher, options.out, options.episodes, options.wandb, part
        )
    except StoppedError as stop:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return exit_code(stop.number)
    print_result(compared.findings, options.json, lambda _: compared.text)
    for outcome in compared.failed:
        print(f"failed: {outcome.folder}: {outcome.error}", file=sys.stderr)
    return FAILURE if compared.failed else DONE
