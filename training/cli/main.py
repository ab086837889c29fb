"""The command line: parses, calls one function a subcommand, prints. No logic."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..settings.arguments import option_value, parse
from ..settings.usage import UsageError, nearest
from .bench import bench
from .envs import envs

USAGE = """usage: palaestra COMMAND ...

  train AGENT --env ID      train an agent, for example: palaestra train ppo --env CartPole-v1
  train --resume RUN_DIR    go on with a run that was stopped
  evaluate RUN_DIR          play full episodes with what a run has learned
  runs [DIR]                what has been trained here
  matrix DIR ...            what each agent, encoder and memory has reached, as a page
  sweep SPACE               search an agent's options
  compare SUITE             agents against baselines, with statistics; or compare RUN_DIR ...
  world-model COMMAND       fit a world model, judge it, train in its dreams
  bench [NAME ...]          throughput and memory, side by side with Stable-Baselines3
  bench envs ID             which backend steps this environment fastest
  bench dream [DIR]         dreamt steps per second of a world model
  envs list [PATTERN]       environments that are installed
  envs check ID             is this environment sound?
  envs survey [PATTERN]     check and step every environment that is installed
  doctor                    device, torch, threads, optional packages, W&B

palaestra COMMAND --help says more; palaestra --version."""

WORLD_MODEL_USAGE = """usage: palaestra world-model COMMAND ...

  fit --env ID --out DIR          collect data and fit a world model
  fit --resume DIR                go on with a fit that was stopped
  evaluate DIR                    how good is it? with --policy RUN_DIR: dream return against real return
  dream DIR --agent NAME          train an agent in its dream alone
  dream --env ID --agent NAME --real-steps N    collect, fit, dream, and again
  dream --resume RUN_DIR          go on with that

palaestra train AGENT --env ID --world-model ENCODER+DYNAMICS learns from real steps and from dreams (Dyna)."""


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with a run, bit for bit as if it had never stopped."""

    resume: Path
    """Folder of the run."""
    steps: int | None = None
    """New total of environment steps."""


def train(arguments: list[str]) -> int:
    """Train an agent, or go on with a run."""
    resume = option_value(arguments, "resume") is not None
    if not resume and (not arguments or arguments[0].startswith("-")):
        return _train_usage(arguments)
    from ...envs.backends.failure import EnvironmentFailedError
    from ..run.describe import describe, describe_failure
    from ..run.folder import CYCLE_FILE, default_run_dir
    from ..run.start import resume_run, start_run

    if not resume and option_value(arguments, "world-model") is not None:
        from ..imagination.dyna import dream_cycle
        from ..imagination.dyna_options import read_dyna_options

        return dream_cycle(*read_dyna_options(arguments[0], arguments[1:]))
    try:
        if resume:
            options = parse(ResumeOptions, arguments, "train")
            run_dir = options.resume
            if (run_dir / CYCLE_FILE).exists():
                from ..imagination.dyna import resume_cycle

                if options.steps is not None:
                    raise UsageError(f"--steps: {run_dir} takes as many real steps as it was started with")
                return resume_cycle(run_dir)
            result = resume_run(run_dir, options.steps)
        else:
            from ..settings.train_options import read_train_options

            config, given = read_train_options(arguments[0], arguments[1:])
            run_dir = given or default_run_dir(config)
            result = start_run(config, run_dir)
    except EnvironmentFailedError as failure:
        print(describe_failure(run_dir, failure), file=sys.stderr)
        return 1
    print(describe(run_dir, result))
    return 0 if result.signal is None else 128 + result.signal


def _train_usage(arguments: list[str]) -> int:
    from ..settings.components import component_names

    agents = ", ".join(component_names("agent"))
    if not {"-h", "--help"} & set(arguments):
        raise UsageError(f"which agent? palaestra train AGENT --env ID (agents: {agents})")
    print(
        "usage: palaestra train AGENT --env ID [options]\n       palaestra train --resume RUN_DIR [--steps N]\n"
    )
    print(
        f"agents: {agents}, package.module:Class, or Stable-Baselines3's as sb3/ppo, sb3/dqn, ...\n"
        "A preset for the agent and environment is used where there is one."
    )
    print("palaestra train AGENT --help shows every option with its default.")
    return 0


@dataclass(frozen=True)
class EvaluateOptions:
    """Play full episodes with what a run has learned."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    episodes: int = 20
    """Episodes, shared equally among copies of the environment."""
    seed: int | None = None
    """Seed of the episodes; by default one that training never used."""
    explore: bool = False
    """Act as in training instead of always taking the best action."""
    video: Path | None = None
    """Folder for an mp4 of one more episode."""
    video_copies: int = 1
    """Copies that play side by side in the video, each one episode."""
    gif: bool = False
    """Write the video as a small GIF, too."""
    json: bool = False
    """Print one JSON object."""


def evaluate(arguments: list[str]) -> int:
    """Play full episodes and report."""
    options = parse(EvaluateOptions, arguments, "evaluate")
    if options.episodes < 1:
        raise UsageError(f"--episodes: must be at least 1, got {options.episodes}")
    from ..run.score import evaluate_run

    if options.video_copies < 1:
        raise UsageError(f"--video-copies: must be at least 1, got {options.video_copies}")
    if options.gif and options.video is None:
        raise UsageError("--gif: say where to, with --video FOLDER")
    report = evaluate_run(
        options.run,
        options.episodes,
        options.seed,
        options.explore,
        options.video,
        options.video_copies,
        options.gif,
    )
    if options.json:
        print(json.dumps(report))
    else:
        print("\n".join(f"{name:<14} {_text(value)}" for name, value in report.items()))
    return 0


def _text(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class RunsOptions:
    """What has been trained here."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Where to look, folders below included."""
    json: bool = False
    """Print one JSON object."""


def runs(arguments: list[str]) -> int:
    """List runs."""
    options = parse(RunsOptions, arguments, "runs")
    from ..run.listing import find_runs, format_runs, runs_as_json

    found = find_runs(options.folder)
    print(json.dumps(runs_as_json(found)) if options.json else format_runs(found))
    return 0


@dataclass(frozen=True)
class MatrixOptions:
    """What each agent, encoder and memory has reached: a table for every task, and the command of every cell."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Where to look for finished runs, folders below included."""
    out: Path | None = None
    """Markdown file to write; by default it is printed."""


def matrix(arguments: list[str]) -> int:
    """Tabulate runs."""
    options = parse(MatrixOptions, arguments, "matrix")
    from ..comparison.matrix import find_cells, page

    text = page(find_cells(options.folders))
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")
        print(f"wrote {options.out}")
    return 0


@dataclass(frozen=True)
class CompareOptions:
    """Agents against each other and against baselines, with statistics and a report."""

    targets: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A suite (a file, or one that ships: see docs/compare.md), folders of finished runs or comparison.json files."""
    out: Path | None = None
    """Folder of the runs and the report; by default comparisons/NAME. What is there already is used again."""
    workers: int = 0
    """Runs at a time, each on one thread; 0 is one a core."""
    launcher: Literal["local", "ray"] = "local"
    """Processes of this machine, or tasks of a Ray cluster."""
    ray_address: str | None = None
    """Address of a Ray cluster; by default one is started here."""
    episodes: int = 100
    """Evaluation episodes of each run, where folders are compared; suites say their own."""
    wandb: bool = False
    """Put tables, charts and files into a W&B run, too, and into a Report where there is a network."""
    json: bool = False
    """Print one JSON object."""


def compare(arguments: list[str]) -> int:
    """Train what is missing, score, report; exit code 1 if a run failed."""
    options = parse(CompareOptions, arguments, "compare")
    if options.episodes < 1:
        raise UsageError(f"--episodes: must be at least 1, got {options.episodes}")
    from ..comparison.comparison import run_comparison
    from ..comparison.launch import StoppedError

    try:
        compared = run_comparison(options)
    except StoppedError as stop:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 128 + stop.number
    print(json.dumps(compared.findings) if options.json else compared.text)
    for outcome in compared.failed:
        print(f"failed: {outcome.folder}: {outcome.error}", file=sys.stderr)
    return 1 if compared.failed else 0


@dataclass(frozen=True)
class SweepOptions:
    """Search an agent's options; what is there already is used again."""

    space: Annotated[Path, tyro.conf.Positional]
    """YAML file that says what to search: see docs/sweeps.md."""
    trials: int = 20
    """Finished trials to reach, those of earlier starts included."""
    workers: int = 0
    """Trials at a time, each on one thread; 0 is one a core. More processes may share the folder."""
    out: Path | None = None
    """Folder of the trials; by default sweeps/NAME."""
    track: Literal["none", "wandb", "tensorboard"] = "none"
    """Where the runs' metrics go besides their folders."""
    export_wandb: Path | None = None
    """Write the search as a file for `wandb sweep` instead of running it."""
    json: bool = False
    """Print one JSON object."""


def sweep(arguments: list[str]) -> int:
    """Search; exit code 1 if a trial failed."""
    import os

    options = parse(SweepOptions, arguments, "sweep")
    from ..comparison.sweep import Sweep, format_sweep, read_space, wandb_sweep

    for name in ("trials", "workers"):
        if getattr(options, name) < (name == "trials"):
            raise UsageError(
                f"--{name}: must be at least {int(name == 'trials')}, got {getattr(options, name)}"
            )
    space, ranges = read_space(options.space)
    if options.export_wandb is not None:
        options.export_wandb.write_text(wandb_sweep(space, ranges))
        print(f"wandb sweep {options.export_wandb}")
        return 0
    out = options.out or Path("sweeps") / options.space.stem
    search = Sweep(space, ranges, out, options.track)
    try:
        search.run(options.trials, options.workers or os.cpu_count() or 1)
    except KeyboardInterrupt:
        print("stopped; go on with the same command", file=sys.stderr)
        return 130
    report = search.report()
    print(json.dumps(report) if options.json else format_sweep(report))
    return 1 if search.failed.is_set() else 0


def world_model(arguments: list[str]) -> int:
    """Fit a world model, judge it, train in its dream."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(WORLD_MODEL_USAGE)
        return 0 if arguments else 2
    from .world_model import COMMANDS as COMMANDS_HERE

    if arguments[0] not in COMMANDS_HERE:
        raise UsageError(
            f"unknown command 'world-model {arguments[0]}'; {nearest(arguments[0], COMMANDS_HERE)}"
        )
    return COMMANDS_HERE[arguments[0]](arguments[1:])


@dataclass(frozen=True)
class DoctorOptions:
    """Device, torch, threads, optional packages, W&B."""

    json: bool = False
    """Print one JSON object."""


def doctor(arguments: list[str]) -> int:
    """Show what is installed here."""
    options = parse(DoctorOptions, arguments, "doctor")
    from ..run.doctor import diagnose, format_diagnosis

    diagnosis = diagnose()
    print(json.dumps(diagnosis) if options.json else format_diagnosis(diagnosis))
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "evaluate": evaluate,
    "runs": runs,
    "matrix": matrix,
    "compare": compare,
    "sweep": sweep,
    "bench": bench,
    "envs": envs,
    "world-model": world_model,
    "doctor": doctor,
}


def run(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"palaestra {version('palaestra')}")
        return 0
    # As `python -m` does: environments and agents of the user's own lie where the command is typed.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        if arguments[0] not in COMMANDS:
            raise UsageError(f"unknown command {arguments[0]!r}; {nearest(arguments[0], COMMANDS)}")
        if arguments[-1] == "--resume":
            raise UsageError("--resume: say which folder; `palaestra runs` lists the runs that are here")
        return COMMANDS[arguments[0]](arguments[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # The user's files and folders; an environment's own errors have been told already.
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT


def main() -> None:
    """Entry point of the `palaestra` command."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
