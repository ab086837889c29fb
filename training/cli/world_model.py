"""Command line of world models: which options there are depends on encoder, dynamics and agent."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..imagination.fits import evaluate_model, resume_fit, start_fit
from ..imagination.model_report import model_findings
from ..imagination.world_model_config import (
    PARTS,
    WorldModelConfig,
    config_class,
    load_model_config,
    to_dict,
    world_model_config,
)
from ..settings.arguments import option_value, parse
from ..settings.components import find_component
from ..settings.presets import merge
from ..settings.train_options import field_docs, parse_assignments, read_train_options
from ..settings.typed import shallow_dict
from ..settings.usage import UsageError
from ..settings.yaml_files import load_yaml
from ..tracking.wandb_tracker import publish


@dataclass(frozen=True)
class ResumeOptions:
    """Go on, bit for bit as if it had never stopped."""

    resume: Path
    """Folder of the world model, or of the cycle."""


def fit(arguments: list[str]) -> int:
    """Fit a world model, or go on with it."""
    if option_value(arguments, "resume") is not None:
        run_dir = parse(ResumeOptions, arguments, "world-model fit").resume
        report = resume_fit(run_dir)
    else:
        config, run_dir = read_fit_options(arguments)
        report = start_fit(config, run_dir)
    print(format_report(report))
    print(f"next            palaestra world-model dream {run_dir} --agent ppo --out {run_dir}-ppo")
    return 0


def read_fit_options(arguments: list[str]) -> tuple[WorldModelConfig, Path]:
    """Return the config of a world model and its folder; defaults, then `--config FILE`, then options."""
    helping = bool({"-h", "--help"} & set(arguments))
    config_file = option_value(arguments, "config")
    given = load_yaml(Path(config_file)) if config_file else {}
    env = option_value(arguments, "env") or given.get("env")
    if env is None and not helping:
        raise UsageError("which environment? give --env, for example --env CartPole-v1")
    kwargs = _kwargs(arguments)
    named: dict[str, Any] = {"env": str(env or "CartPole-v1"), "env_kwargs": kwargs}
    for block in PARTS:
        if name := option_value(arguments, block):
            named[block] = {"name": name}
    default = world_model_config(merge(given, named), f"{config_file}: " if config_file else "")
    components = [find_component(kind, getattr(default, kind)) for kind in PARTS.values()]
    parsed = shallow_dict(
        parse(_options_class(config_class(*components), default), arguments, "world-model fit")
    )
    run_dir = parsed.pop("out")
    del parsed["config"]
    if run_dir is None:
        raise UsageError("where to? give --out, for example --out world-models/cartpole")
    parsed["env_kwargs"] = default.env_kwargs | kwargs
    # Ranges are checked by reading the result once more, as if it stood in a file.
    return world_model_config(to_dict(WorldModelConfig(**parsed)), "--"), run_dir


def _kwargs(arguments: list[str]) -> dict[str, Any]:
    """Read `--env-kwargs A=1 B=2` before the options are really parsed: the spaces may depend on it."""
    if "--env-kwargs" not in arguments:
        return {}
    words = []
    for word in arguments[arguments.index("--env-kwargs") + 1 :]:
        if word.startswith("--"):
            break
        words.append(word)
    return parse_assignments(words, "--env-kwargs")


def _options_class(config_class: type[Any], default: WorldModelConfig) -> type[Any]:
    """Return a dataclass for the option parser: the config, and where to write."""
    renamed = {"coder": "encoder", "coder_config": "encoder", "dynamics_config": "dynamics"}
    docs = field_docs(WorldModelConfig)
    fields: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(config_class):
        kind, value = item.type, getattr(default, item.name)
        extra: dict[str, Any] = {"help": docs.get(item.name)}
        if item.name in renamed:
            extra["name"] = renamed[item.name]
        if item.name == "env_kwargs":
            kind, value = tuple[str, ...], ()
            extra["help"] = "Arguments of the environment, NAME=VALUE each."
        fields.append((item.name, Annotated[kind, tyro.conf.arg(**extra)], dataclasses.field(default=value)))
    for name, text in (
        ("out", "Folder of the world model, new or empty."),
        ("config", "YAML file with options."),
    ):
        kind = Annotated[Path | None, tyro.conf.arg(help=text)]
        fields.append((name, kind, dataclasses.field(default=None)))
    made = dataclasses.make_dataclass("FitOptions", fields, frozen=True)
    made.__doc__ = "Collect data and fit a world model."
    return made


@dataclass(frozen=True)
class EvaluateOptions:
    """How good is a world model, on the episodes that it has not learned from?"""

    model: Annotated[Path, tyro.conf.Positional]
    """Folder of the world model."""
    policy: Path | None = None
    """Folder of a run: compare what its agent gets in dreams with what it really gets."""
    episodes: int = 50
    """Episodes of that comparison, for each temperature."""
    noise: float = 0.0
    """Look for the true state in noisy observations, too: deviation, of pictures from 0 to 1 or of scaled numbers."""
    wandb: bool = False
    """Put the report into a W&B run, too."""
    json: bool = False
    """Print one JSON object."""


def evaluate(arguments: list[str]) -> int:
    """Judge a world model."""
    options = parse(EvaluateOptions, arguments, "world-model evaluate")
    if options.episodes < 1:
        raise UsageError(f"--episodes: must be at least 1, got {options.episodes}")
    if options.noise < 0:
        raise UsageError(f"--noise: must be at least 0, got {options.noise}")
    returns: dict[str, Any] = {}
    if options.policy is not None:
        from ..imagination.gap import dream_to_real

        returns = dream_to_real(options.model, options.policy, options.episodes)
    report = evaluate_model(options.model, returns, options.noise)
    if options.wandb:
        publish(model_findings(options.model, report), options.model)
    print(json.dumps(report) if options.json else format_report(report))
    return 0


def format_report(report: dict[str, Any]) -> str:
    """Lay a report out."""
    lines = []
    for name, value in report.items():
        if isinstance(value, dict):
            value = "  ".join(f"{key}: {_text(part)}" for key, part in value.items())
        elif isinstance(value, list):
            value = "  ".join(_text(part) for part in value)
        lines.append(f"{name:<18} {_text(value)}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def dream(arguments: list[str]) -> int:
    """Train an agent in a dream alone: of a world model, or of one that is fitted again and again."""
    from ..run.describe import describe
    from ..run.folder import default_run_dir
    from ..run.start import start_run

    if option_value(arguments, "resume") is not None:
        from ..imagination.dyna import resume_cycle

        return resume_cycle(parse(ResumeOptions, arguments, "world-model dream").resume)
    agent = option_value(arguments, "agent")
    if {"-h", "--help"} & set(arguments) and (agent is None or arguments[0].startswith("-")):
        from ..imagination.dyna_options import CycleConfig

        parse(CycleConfig, ["--help"], "world-model dream --env ID --agent NAME")
    if agent is None:
        raise UsageError("which agent? palaestra world-model dream DIR --agent ppo --out DIR")
    rest = without_option(arguments, "agent")
    if option_value(rest, "real-steps") is not None:
        from ..imagination.dyna import dream_cycle
        from ..imagination.dyna_options import read_cycle_options

        return dream_cycle(*read_cycle_options(agent, rest))
    if not rest or rest[0].startswith("-"):
        raise UsageError(
            "which world model? palaestra world-model dream DIR --agent ppo, or --env ID --real-steps N for a new one"
        )
    model, rest = rest[0], rest[1:]
    fitted = load_model_config(Path(model))
    if env := option_value(rest, "env"):
        raise UsageError(f"--env {env}: {model} says itself that it is a world model of {fitted.env}")
    kwargs = [f"{name}={json.dumps(value)}" for name, value in fitted.env_kwargs.items()]
    words = ["--env", fitted.env, "--dream.model", model, "--frame-stack", str(fitted.frame_stack)]
    words += ["--env-kwargs", *kwargs] if kwargs else []
    config, run_dir = read_train_options(agent, [*words, *rest])
    run_dir = run_dir or default_run_dir(config)
    result = start_run(config, run_dir)
    print(describe(run_dir, result))
    return 0 if result.signal is None else 128 + result.signal


def without_option(arguments: list[str], name: str) -> list[str]:
    """Leave out `--name VALUE` or `--name=VALUE`."""
    kept, skip = [], False
    for word in arguments:
        if skip:
            skip = False
        elif word == f"--{name}":
            skip = True
        elif not word.startswith(f"--{name}="):
            kept.append(word)
    return kept


COMMANDS: dict[str, Callable[[list[str]], int]] = {"fit": fit, "evaluate": evaluate, "dream": dream}
