"""`palaestra world-model`: fit a world model, judge it, train in its dreams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Ge, Interval

from ..settings.arguments import option_value
from ..settings.usage import UsageError, nearest, typed_command
from .terminal.options import Count, JsonSwitch, TrustSwitch, read_options
from .terminal.output import BAD_INPUT, DONE, exit_code, format_values, print_result

USAGE = """usage: palaestra world-model COMMAND ...

  fit --env ID --out DIR          collect data and fit a world model
  fit --resume DIR                go on with a fit that was stopped
  evaluate DIR                    how good is it? with --policy RUN_DIR: dream return against real return
  dream DIR --agent NAME          train an agent in its dream alone
  dream --env ID --agent NAME --real-steps N    collect, fit, dream, and again
  dream --resume RUN_DIR          go on with that

palaestra train AGENT --env ID --world-model ENCODER+DYNAMICS learns from real steps and from dreams (Dyna)."""


def world_model(arguments: list[str]) -> int:
    """Run one of the commands."""
    commands = {"fit": fit, "evaluate": evaluate, "dream": dream}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return DONE if arguments else BAD_INPUT
    if arguments[0] not in commands:
        raise UsageError(f"unknown command 'world-model {arguments[0]}'; {nearest(arguments[0], commands)}")
    return commands[arguments[0]](arguments[1:])


@dataclass(frozen=True)
class ResumeOptions:
    """Go on, bit for bit as if it had never stopped."""

    resume: Path
    """Folder of the world model, or of the cycle."""
    trust: TrustSwitch = False


def fit(arguments: list[str]) -> int:
    """Fit a world model, or go on with it."""
    from ..imagination.fit_options import read_fit_options
    from ..imagination.fits import resume_fit, start_fit

    if option_value(arguments, "resume") is not None:
        model_dir = read_options(ResumeOptions, arguments, "world-model fit").resume
        report = resume_fit(model_dir)
    else:
        config, model_dir = read_fit_options(arguments)
        report = start_fit(config, model_dir)
    print(format_report(report))
    command = typed_command("world-model", "dream", model_dir, "--agent", "ppo", "--out", f"{model_dir}-ppo")
    print(f"next            {command}")
    return DONE


@dataclass(frozen=True)
class EvaluateOptions:
    """How good is a world model, on the episodes that it has not learned from?"""

    model: Annotated[Path, tyro.conf.Positional]
    """Folder of the world model."""
    policy: Path | None = None
    """Folder of a run: compare what its agent gets in dreams with what it really gets."""
    episodes: Count = 50
    """Episodes of that comparison, for each temperature."""
    noise: Annotated[float, Ge(0)] = 0.0
    """Look for the true state in noisy observations, too: deviation, of pictures from 0 to 1 or of scaled numbers."""
    label: Literal["termination", "reward"] | None = None
    """Look for this label of frames in the latents, too, by a linear map: the control of --encoder semi_supervised."""
    label_fraction: Annotated[float, Interval(gt=0, le=1)] = 0.01
    """Share of the frames that the linear map is told the label of."""
    wandb: bool = False
    """Put the report into a W&B run, too."""
    trust: TrustSwitch = False
    json: JsonSwitch = False


def evaluate(arguments: list[str]) -> int:
    """Judge a world model."""
    options = read_options(EvaluateOptions, arguments, "world-model evaluate")
    if options.policy is None and option_value(arguments, "episodes") is not None:
        raise UsageError(
            "--episodes: counts those of a comparison; say of which agent, with --policy RUN_DIR"
        )
    if options.label is None and option_value(arguments, "label-fraction") is not None:
        raise UsageError("--label-fraction: of which label? give --label termination or --label reward")
    from ..imagination.fits import evaluate_model
    from ..imagination.gap import dream_to_real
    from ..imagination.model_report import model_publication
    from ..run.signals import stopping_signals
    from ..tracking.wandb_publish import publish

    with stopping_signals():
        returns = (
            {} if options.policy is None else dream_to_real(options.model, options.policy, options.episodes)
        )
        report = evaluate_model(options.model, returns, options.noise, options.label, options.label_fraction)
    if options.wandb:
        publish(model_publication(options.model, report), options.model)
    print_result(report, options.json, format_report)
    return DONE


def format_report(report: dict[str, Any]) -> str:
    """Lay a report out for reading."""
    return format_values(report, width=18, digits=4)


def dream(arguments: list[str]) -> int:
    """Train an agent in a dream alone: of a world model, or of one that is fitted again and again."""
    from ..imagination.dream_options import read_dream_options, without_option
    from ..imagination.dyna import dream_cycle, resume_cycle
    from ..imagination.dyna_options import CycleConfig, read_cycle_options
    from ..run.describe import describe
    from ..run.start import start_run
    from ..run.storage.folder import default_run_dir

    if option_value(arguments, "resume") is not None:
        return resume_cycle(read_options(ResumeOptions, arguments, "world-model dream").resume)
    agent = option_value(arguments, "agent")
    if {"-h", "--help"} & set(arguments) and (agent is None or arguments[0].startswith("-")):
        read_options(CycleConfig, ["--help"], "world-model dream --env ID --agent NAME")
    if agent is None:
        raise UsageError("which agent? palaestra world-model dream DIR --agent ppo --out DIR")
    rest = without_option(arguments, "agent")
    if option_value(rest, "real-steps") is not None:
        return dream_cycle(*read_cycle_options(agent, rest))
    config, given = read_dream_options(agent, rest)
    run_dir = given or default_run_dir(config)
    result = start_run(config, run_dir)
    print(describe(run_dir, result))
    return exit_code(result.signal)
