"""Options of cycles of real and dreamt steps, from either of the two commands that begin one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, Interval

from ...world_models.fit import FitConfig
from ..run.storage.folder import CYCLE_FILE, default_run_dir
from ..settings.arguments import option_as_typed, parse
from ..settings.config import RunConfig
from ..settings.planning import check_teacher
from ..settings.train_options import read_train_options
from ..settings.typed import build, flat, option_name, plain, shallow_dict
from ..settings.usage import UsageError
from ..settings.yaml_files import load_yaml
from .world_model_config import WorldModelConfig, world_model_config


@dataclass(frozen=True)
class CycleConfig:
    """Rounds of collecting, fitting and dreaming; every other option is one of `palaestra train`."""

    real_steps: Annotated[int, Gt(0)]
    """Real steps, all rounds together; never one more. The first round's are random."""
    rounds: Annotated[int, Gt(0)] = 15
    """How often to collect, fit and dream; each time with an equal share of the real and of the dreamt steps."""
    collect_envs: Annotated[int, Gt(0)] = 1
    """Copies of the real environment; with few of them, episodes are collected to their end."""
    world_model: str = "auto+auto"
    """Encoder and dynamics, for example vae+ensemble."""
    first_horizon: Annotated[int, Gt(0)] | None = None
    """Length of the first round's dreams, growing evenly to --dream.horizon in the last: early models are not to be
    trusted for long."""
    learn_from_real: bool = False
    """Dyna: the agent learns from the real steps, too, and dreams only where the model passes the two bars below."""
    min_skill: float = 0.0
    """Dyna: held-out skill over persistence, 1 to 10 steps ahead, must be above this."""
    min_recall: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Dyna: share of the held-out terminations that are predicted, at least."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(updates=1000))
    """Learning the world model, anew in every round."""


def load_cycle(run_dir: Path) -> CycleConfig | None:
    """Read how a run's rounds go, which a world model is fitted in; None of a run without such rounds.

    Raises:
        UsageError: the file is broken.
    """
    path = run_dir / CYCLE_FILE
    return build(CycleConfig, load_yaml(path), f"{path}: ") if path.exists() else None


def cycle_words(cycle: CycleConfig, env: str, agent: str) -> list[str]:
    """The words that begin such rounds again, to which the options of the agent's run belong."""
    usual = flat(plain(CycleConfig(cycle.real_steps)))
    words = ["world-model", "dream", "--env", env, "--agent", agent, "--real-steps", str(cycle.real_steps)]
    for name, value in flat(plain(cycle)).items():
        if value != usual[name]:
            words += option_as_typed(name, value)
    return words


def read_cycle_options(agent: str, arguments: list[str]) -> tuple[CycleConfig, RunConfig, Path]:
    """Return the config of the rounds, that of the agent's run, and its folder."""
    mine, rest = _split(arguments, CycleConfig)
    cycle = build(CycleConfig, plain(parse(CycleConfig, mine, "world-model dream")), "--")
    config, run_dir = read_real_options(agent, rest)
    return cycle, config, run_dir or default_run_dir(config)


def read_real_options(agent: str, arguments: list[str]) -> tuple[RunConfig, Path | None]:
    """Return the config of the agent's run, which collects what the model is fitted to, and `--out`.

    Raises:
        UsageError: it is to learn from something else, or to begin as another run.
    """
    config, run_dir = read_train_options(agent, arguments)
    check_teacher(config)
    for option in ("data", "init_from"):
        if getattr(config, option):
            raise UsageError(f"--{option_name(option)}: not where a world model is fitted again and again")
    return config, run_dir


@dataclass(frozen=True)
class DynaOptions:
    """What `palaestra train --world-model` takes besides."""

    world_model: str
    """Encoder and dynamics, for example vae+ensemble."""
    dream_ratio: Annotated[float, Gt(0)] = 5.0
    """Dreamt steps for every real one."""
    rounds: Annotated[int, Gt(0)] = 10
    """How often a model is fitted."""
    first_horizon: Annotated[int, Gt(0)] | None = None
    """Length of the first round's dreams, growing evenly to --dream.horizon in the last (MBPO)."""
    min_skill: float = 0.0
    """Held-out skill over persistence, 1 to 10 steps ahead, must be above this, or the agent goes on model-free."""
    min_recall: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Share of the held-out terminations that must be predicted, or the agent goes on model-free."""
    fit: FitConfig = field(default_factory=FitConfig)
    """Learning the world model."""


def read_dyna_options(agent: str, arguments: list[str]) -> tuple[CycleConfig, RunConfig, Path]:
    """Return the same for `palaestra train`, whose `--steps` are real steps."""
    mine, rest = _split(arguments, DynaOptions)
    options = build(DynaOptions, plain(parse(DynaOptions, mine, "train --world-model")), "--")
    config, run_dir = read_real_options(agent, rest)
    given = shallow_dict(options)
    ratio = given.pop("dream_ratio")
    cycle = CycleConfig(config.steps, collect_envs=config.num_envs, learn_from_real=True, **given)
    # The agent's schedules run over all the steps that it learns from.
    config = replace(config, steps=round(config.steps * (1 + ratio)))
    return cycle, config, run_dir or default_run_dir(config)


def _split(arguments: list[str], ours: type[Any]) -> tuple[list[str], list[str]]:
    """Part the words that belong to options of the dataclass `ours` from the others."""
    names = {item.name.replace("_", "-") for item in dataclasses.fields(ours)}
    mine: list[str] = []
    rest: list[str] = []
    here = False
    for word in arguments:
        if word.startswith("--"):
            name = word[2:].partition("=")[0].removeprefix("no-")
            here = name in names or name.startswith("fit.")
        (mine if here else rest).append(word)
    return mine, rest


def model_config(cycle: CycleConfig, config: RunConfig) -> WorldModelConfig:
    """Return the config of the world model of a cycle."""
    encoder, plus, dynamics = cycle.world_model.partition("+")
    if not plus:
        raise UsageError(
            f"--world-model: expected ENCODER+DYNAMICS, for example vae+ensemble, got {cycle.world_model!r}"
        )
    values = {
        "env": config.env,
        "env_kwargs": config.env_kwargs,
        "frame_stack": config.frame_stack,
        "steps": cycle.real_steps,
        "seed": config.seed,
        "encoder": {"name": encoder},
        "dynamics": {"name": dynamics},
        "fit": plain(cycle.fit),
        "device": config.device,
        "track": "none",
    }
    return world_model_config(values)
