"""The command line: parses, calls one function a subcommand, prints. No logic."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from .config import UsageError, as_usage_errors, nearest, parse_count

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

palaestra COMMAND --help says more."""

WORLD_MODEL_USAGE = """usage: palaestra world-model COMMAND ...

  fit --env ID --out DIR          collect data and fit a world model
  fit --resume DIR                go on with a fit that was stopped
  evaluate DIR                    how good is it? with --policy RUN_DIR: dream return against real return
  dream DIR --agent NAME          train an agent in its dream alone
  dream --env ID --agent NAME --real-steps N    collect, fit, dream, and again
  dream --resume RUN_DIR          go on with that

palaestra train AGENT --env ID --world-model ENCODER+DYNAMICS learns from real steps and from dreams (Dyna)."""


def registry() -> tyro.constructors.ConstructorRegistry:
    """Rules for reading options: whole numbers may be written 1e5, 100_000 or 100k."""
    rules = tyro.constructors.ConstructorRegistry()

    @rules.primitive_rule
    def count(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec[int] | None:
        if info.type is not int:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT",
            instance_from_str=lambda words: parse_count(words[0]),
            is_instance=lambda value: isinstance(value, int),
            str_from_instance=lambda value: [str(value)],
        )

    return rules


def parse(cls: Any, arguments: list[str], command: str, **options: Any) -> Any:
    """Read options into the dataclass `cls`; what is wrong with them is a UsageError of one line."""
    errors = io.StringIO()
    try:
        with registry(), contextlib.redirect_stderr(errors):
            return tyro.cli(cls, args=arguments, prog=f"palaestra {command}", **options)
    except SystemExit as stop:
        if not stop.code:
            raise
    raise UsageError(one_line(errors.getvalue(), command))


def one_line(message: str, command: str) -> str:
    """Squeeze a boxed message of the option parser into one line."""
    words = re.sub(r"\x1b\[[0-9;]*m|[╭╮╰╯│─]", " ", message)
    said, _, hint = words.partition("For full helptext")[0].partition("Perhaps you meant:")
    said = re.sub(
        r"^.*?(?=(Unrecognized|Error parsing|Required|Missing|Invalid))", "", " ".join(said.split())
    )
    said = re.sub(r"^Unrecognized options (?=Unrecognized options)", "", said)
    option = re.search(r"--[\w.-]+", hint)
    return said + (f"; did you mean {option[0]}?" if option else f" (see palaestra {command} --help)")


def option_value(arguments: list[str], name: str) -> str | None:
    """Return what was given for `--name`, before the options are really parsed."""
    for place, word in enumerate(arguments):
        if word == f"--{name}" and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return None


def option_words(arguments: list[str], name: str) -> list[str] | None:
    """Return the words that follow `--name`, up to the next option; None where it was not given."""
    words: list[str] | None = None
    inside = False
    for word in arguments:
        if word.startswith("--"):
            given, equals, value = word.partition("=")
            inside = given == f"--{name}"
            if inside:
                words = [value] if equals else []
        elif inside and words is not None:
            words.append(word)
    return words


# -- Commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with a run, bit for bit as if it had never stopped."""

    resume: Path
    """Folder of the run."""
    steps: int | None = None
    """New total of environment steps."""


def train(arguments: list[str]) -> int:
    """Train an agent, or go on with a run."""
    from ..envs.failure import EnvironmentFailedError
    from .run import CYCLE_FILE, default_run_dir, describe, describe_failure, resume_run, start_run

    resume = option_value(arguments, "resume") is not None
    if not resume and (not arguments or arguments[0].startswith("-")):
        return _train_usage(arguments)
    if not resume and option_value(arguments, "world-model") is not None:
        from .dyna import dream_cycle
        from .dyna_options import read_dyna_options

        return dream_cycle(*read_dyna_options(arguments[0], arguments[1:]))
    try:
        if resume:
            options = parse(ResumeOptions, arguments, "train")
            run_dir = options.resume
            if (run_dir / CYCLE_FILE).exists():
                from .dyna import resume_cycle

                return resume_cycle(run_dir)
            result = resume_run(run_dir, options.steps)
        else:
            from .options import read_train_options

            config, given = read_train_options(arguments[0], arguments[1:])
            run_dir = given or default_run_dir(config)
            result = start_run(config, run_dir)
    except EnvironmentFailedError as failure:
        print(describe_failure(run_dir, failure), file=sys.stderr)
        return 1
    print(describe(run_dir, result))
    return 0 if result.signal is None else 128 + result.signal


def _train_usage(arguments: list[str]) -> int:
    from .components import component_names

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
    from .run import evaluate_run

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
    from .runs import find_runs, format_runs, runs_as_json

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
    from .matrix import find_cells, page

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
    """A suite (a file, or one that ships: see docs/compare.md), or folders of finished runs."""
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
    from .comparison import run_comparison
    from .launch import StoppedError

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
    """Search."""
    import os

    options = parse(SweepOptions, arguments, "sweep")
    from .sweep import Sweep, format_sweep, read_space, wandb_sweep

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
    return 0


@dataclass(frozen=True)
class BenchOptions:
    """Throughput and memory beside Stable-Baselines3, in alternating runs with the same hyper-parameters."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Benchmarks; all of them when none is named."""
    repeats: int = 3
    """Runs of each side; the median counts."""
    json: bool = False
    """Print one JSON object."""


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
    from .bench_envs import bench_envs as measure
    from .bench_envs import format_bench_envs
    from .options import parse_assignments
    from .progress import say

    kwargs = parse_assignments(options.env_kwargs, "--env-kwargs")
    with as_usage_errors():
        counts = list(options.num_envs)
        report = measure(options.env, counts, options.seconds, kwargs, options.wrappers, say)
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
    from .bench_dreams import bench_dream as measure
    from .bench_dreams import format_bench_dream
    from .progress import say

    report = measure(options.model, list(options.num_envs), options.seconds, options.threads, say)
    print(json.dumps(report) if options.json else format_bench_dream(report))
    return 0


def bench(arguments: list[str]) -> int:
    """Measure."""
    if arguments[:1] == ["envs"]:
        return bench_envs(arguments[1:])
    if arguments[:1] == ["dream"]:
        return bench_dream(arguments[1:])
    options = parse(BenchOptions, arguments, "bench")
    from .bench import bench as measure
    from .bench import format_bench
    from .progress import say

    report = measure(list(options.names), options.repeats, say)
    print(json.dumps(report) if options.json else format_bench(report))
    return 0


@dataclass(frozen=True)
class EnvsListOptions:
    """Environments that are installed."""

    pattern: Annotated[str, tyro.conf.Positional] = ""
    """Only ids that contain this; * and ? stand for anything."""
    spaces: bool = False
    """Show observation and action spaces; every environment is made for that."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True)
class EnvsCheckOptions:
    """Is this environment sound?"""

    env: Annotated[str, tyro.conf.Positional]
    """Gymnasium id; module:Id imports the module first."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment, NAME=VALUE each."""
    wrappers: tuple[str, ...] = ()
    """Wrappers by name, innermost first: module:Wrapper, or module:Wrapper(name=value)."""
    json: bool = False
    """Print one JSON object."""


def envs(arguments: list[str]) -> int:
    """List or check environments."""
    commands = {"list": envs_list, "check": envs_check, "survey": envs_survey}
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: palaestra envs list [PATTERN] | check ID | survey [PATTERN]")
        return 0 if arguments else 2
    if arguments[0] not in commands:
        raise UsageError(f"unknown command 'envs {arguments[0]}'; {nearest(arguments[0], commands)}")
    return commands[arguments[0]](arguments[1:])


@dataclass(frozen=True)
class EnvsSurveyOptions:
    """Check every installed environment and step it."""

    patterns: Annotated[tuple[str, ...], tyro.conf.Positional] = ("",)
    """Only ids that contain one of these; * and ? stand for anything."""
    out: Path | None = None
    """Markdown file to write; it is printed otherwise."""
    json: bool = False
    """Print one JSON object."""


def envs_survey(arguments: list[str]) -> int:
    """Check all environments; exit code 1 if one cannot be stepped for no known reason."""
    options = parse(EnvsSurveyOptions, arguments, "envs survey")
    from .progress import say
    from .survey import format_survey, known_failure, survey

    rows = survey(options.patterns, say)
    page = format_survey(rows)
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")
    if options.json:
        print(json.dumps({"environments": rows}))
    elif options.out is None:
        print(page)
    return 1 if any(row["failed"] and known_failure(row) is None for row in rows) else 0


def envs_list(arguments: list[str]) -> int:
    """List environments."""
    options = parse(EnvsListOptions, arguments, "envs list")
    from .catalog import catalog, format_catalog

    found = catalog(options.pattern, options.spaces)
    print(json.dumps({"environments": found}) if options.json else format_catalog(found))
    return 0


def envs_check(arguments: list[str]) -> int:
    """Check an environment; exit code 2 when it has errors."""
    options = parse(EnvsCheckOptions, arguments, "envs check")
    from ..envs.check import check_environment
    from .baseline_bench import checkers
    from .options import parse_assignments

    with as_usage_errors():
        kwargs = parse_assignments(options.env_kwargs, "--env-kwargs")
        report = check_environment(options.env, kwargs, options.wrappers, checkers())
    if options.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        lines = [f"error: {line}" for line in report.errors] + [
            f"warning: {line}" for line in report.warnings
        ]
        lines += [f"observations: {report.observation_space}", f"actions: {report.action_space}"]
        speed = f", {report.steps_per_second:,.0f} steps/s" if report.steps_per_second else ""
        print("\n".join([*lines, f"{report.id}: {'ok' if report.ok else 'not sound'}{speed}"]))
    return 0 if report.ok else 2


def world_model(arguments: list[str]) -> int:
    """Fit a world model, judge it, train in its dream."""
    from .world_model_options import COMMANDS as COMMANDS_HERE

    if not arguments or arguments[0] in ("-h", "--help"):
        print(WORLD_MODEL_USAGE)
        return 0 if arguments else 2
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
    from .doctor import diagnose, format_diagnosis

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
    # As `python -m` does: environments and agents of the user's own lie where the command is typed.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        if arguments[0] not in COMMANDS:
            raise UsageError(f"unknown command {arguments[0]!r}; {nearest(arguments[0], COMMANDS)}")
        return COMMANDS[arguments[0]](arguments[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def main() -> None:
    """Entry point of the `palaestra` command."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
