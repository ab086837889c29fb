"""`palaestra sweep`: search an agent's options."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .terminal.options import Count, CountOrZero, JsonSwitch, TrustSwitch, read_options
from .terminal.output import DONE, FAILURE, exit_code, print_result


@dataclass(frozen=True)
class SweepOptions:
    """Search an agent's options; what is there already is used again."""

    space: Annotated[Path, tyro.conf.Positional]
    """YAML file that says what to search: see docs/sweeps.md."""
    trials: Count = 20
    """Finished trials to reach, those of earlier starts included."""
    workers: CountOrZero = 0
    """Trials at a time, each on one thread; 0 is one a core, or what fits into the Ray cluster. More processes may
    share the folder."""
    launcher: Literal["local", "ray"] = "local"
    """Processes of this machine, or tasks of a Ray cluster."""
    ray_address: str | None = None
    """Address of a Ray cluster, or auto for the one that this machine belongs to; by default one is started here."""
    ray_storage: Literal["auto", "shared", "carried"] = "auto"
    """Whether all nodes see the folder (shared), or files are sent through Ray (carried); auto: each node looks."""
    cpus_per_run: float = 1.0
    """CPUs that Ray keeps for a task; a run has one thread whatever they are."""
    gpus_per_run: float = 0.0
    """GPUs that Ray keeps for a task; 0.25 lets four share one."""
    out: Path | None = None
    """Folder of the trials; by default sweeps/NAME."""
    group_seeds: Literal["auto", "on", "off"] = "auto"
    """Train the seeds of a trial in one process: auto where no pruner waits for the first of them."""
    track: Literal["none", "wandb", "tensorboard"] = "none"
    """Where the runs' metrics go besides their folders."""
    export_wandb: Path | None = None
    """Write the search as a file for `wandb sweep` instead of running it."""
    trust: TrustSwitch = False
    json: JsonSwitch = False


def sweep(arguments: list[str]) -> int:
    """Search; exit code 1 if a trial failed."""
    options = read_options(SweepOptions, arguments, "sweep")
    from ..comparison.ray_launcher import RayCluster, RayOptions, check_ray_options
    from ..comparison.search_space import read_space
    from ..comparison.sweep import Sweep, format_sweep
    from ..comparison.sweep_export import wandb_sweep
    from ..run.signals import StoppedError

    ray = RayOptions(options.ray_address, options.cpus_per_run, options.gpus_per_run, options.ray_storage)
    check_ray_options(options.launcher, ray)
    space, ranges = read_space(options.space)
    if options.export_wandb is not None:
        options.export_wandb.write_text(wandb_sweep(space, ranges), encoding="utf-8")
        print(f"wandb sweep {options.export_wandb}")
        return DONE
    out = options.out or Path("sweeps") / options.space.stem
    search = Sweep(space, ranges, out, options.track, options.group_seeds)
    try:
        if options.launcher == "ray":
            with RayCluster(ray, options.workers) as cluster:
                search.run(options.trials, options.workers or cluster.slots(), cluster)
        else:
            search.run(options.trials, options.workers)
    except StoppedError as stop:
        print("stopped; go on with the same command", file=sys.stderr)
        return exit_code(stop.number)
    print_result(search.report(), options.json, format_sweep)
    return FAILURE if search.failures else DONE
