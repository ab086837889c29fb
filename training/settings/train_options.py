"""Options of `palaestra train`: which there are depends on the agent, the encoder and the memory."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from ...envs.make import BackendName
from ...envs.outside import absolute_name
from .absolute_names import absolute_component
from .arguments import TrustSwitch, gathered, option_value, option_words, parse
from .components import find_component
from .config import BLOCKS, USUAL, RunConfig, names_of, run_config, run_config_class, to_dict
from .layers import merge_options
from .own_loop import OwnLoopOptions
from .presets import find_preset, read_config
from .trust import check_names
from .typed import AS_TYPED, shallow_dict
from .usage import UsageError, nearest
from .yaml_files import parse_yaml, yaml_word

SEEDS_HELP = (
    "Train several seeds in one process, a run each: 8 is 0 to 7, or 10-19, or [3,5]. With --out DIR they are "
    "DIR/seedN."
)


def read_train_options(agent: str, arguments: list[str]) -> tuple[RunConfig, Path | None]:
    """Return a run's config and its folder, if one was given.

    Later ones win: defaults, the preset for agent and environment, `--config FILE`, options.

    Raises:
        UsageError: an option, a name or a value is wrong.
    """
    agent = absolute_name(agent)
    hidden = options_not_taken(agent)
    for block in ("encoder", *USUAL):
        if block in hidden and (option_words(arguments, block) or option_value(arguments, block)):
            own, hint = "networks", find_component("agent", agent).networks_hint
            if block in ("bonus", "reward"):
                own, hint = "training loop", "learned rewards are for agents of ours"
            raise UsageError(f"--{block}: {agent} brings its own {own}; {hint}")
    config_file = option_value(arguments, "config")
    given = read_given(agent, config_file) if config_file else {}
    env = option_value(arguments, "env") or given.get("env")
    if env is None and not {"-h", "--help"} & set(arguments):
        raise UsageError("which environment? give --env, for example --env CartPole-v1")
    env = absolute_name(str(env or "CartPole-v1"))

    named: dict[str, Any] = {"agent": agent} | {
        block: absolute_component(block, name)
        for block in ("encoder", *USUAL)
        if (name := option_value(arguments, block))
    }
    if config_file:
        check_names(merge_options(given, named), config_file)
    # Checked one by one, so that a mistake is reported with the place where it stands.
    preset = find_preset(agent, env)
    run_config(merge_options(preset, named, {"env": env}), f"preset {agent}/{env}: ")
    default = run_config(
        merge_options(preset, given, named, observation_options(env, arguments)),
        f"{config_file}: " if config_file else "",
    )

    components = [find_component(kind, getattr(default, kind)) for kind in BLOCKS]
    options = _options_class(run_config_class(*components), default, hidden)
    parsed = shallow_dict(parse(options, gathered(arguments, "data"), f"train {agent}"))
    parsed |= {name: getattr(default, name) for name in hidden}
    run_dir = parsed.pop("out")
    del parsed["config"], parsed["trust"]
    if parsed.pop("dry_run"):
        raise UsageError("--dry-run: only of `palaestra train`")
    if parsed.pop("seeds") is not None:
        raise UsageError("--seeds: only of `palaestra train` without --world-model; give --seed")
    parsed["env_kwargs"] = default.env_kwargs | parse_assignments(parsed["env_kwargs"], "--env-kwargs")
    # Ranges are checked by reading the result once more, as if it stood in a file.
    return run_config(to_dict(RunConfig(agent=agent, **parsed)), "--"), run_dir


def read_given(agent: str, config_file: str) -> dict[str, Any]:
    """Read what `--config` names, for an agent.

    Raises:
        UsageError: it is nothing that can be read, or written for another agent.
    """
    given = read_config(agent, config_file)
    check_written_for(agent, given, f"--config {config_file}: ")
    return given


def check_written_for(agent: str, given: dict[str, Any], where: str) -> None:
    """Raise `UsageError` where options name another agent."""
    written = names_of(given).get("agent", agent)
    if written != agent:
        raise UsageError(f"{where}written for agent {written}, not for {agent}; take its agent block out")


def options_not_taken(agent: str) -> frozenset[str]:
    """Fields of `RunConfig` that mean nothing to an agent: none, unless it brings its own loop."""
    found = find_component("agent", agent)
    return found.options_not_taken if issubclass(found, OwnLoopOptions) else frozenset()


def observation_options(env: str, arguments: list[str]) -> dict[str, Any]:
    """Return the options on which the observations depend, and with them the default encoder."""
    options: dict[str, Any] = {
        "env": env,
        "env_kwargs": parse_assignments(option_words(arguments, "env-kwargs") or (), "--env-kwargs"),
    }
    wrappers = option_words(arguments, "env.wrappers")
    if wrappers is not None:
        options["env_options"] = {"wrappers": wrappers}
    if backend := option_value(arguments, "backend"):
        if backend not in get_args(BackendName):
            known = nearest(backend, get_args(BackendName))
            raise UsageError(f"--backend: unknown choice {backend!r}; {known}")
        options["backend"] = backend
    return options


def _options_class(config_class: type[Any], default: RunConfig, hidden: frozenset[str]) -> type[Any]:
    """Return a dataclass for the option parser: a run's config without its agent, and where to write."""
    renamed = {target: block for block, target in BLOCKS.items()} | AS_TYPED
    fields: list[tuple[str, Any, Any]] = []
    docs = field_docs(RunConfig)
    for item in dataclasses.fields(config_class):
        if item.name == "agent" or item.name in hidden:
            continue
        kind, value = item.type, getattr(default, item.name)
        extra: dict[str, Any] = {"help": docs.get(item.name)}
        if item.name in renamed:
            extra = {"name": renamed[item.name]}
        if item.name == "env_kwargs":
            kind, value = tuple[str, ...], ()
            extra["help"] = "Arguments of the environment, NAME=VALUE each."
        fields.append((item.name, Annotated[kind, tyro.conf.arg(**extra)], dataclasses.field(default=value)))
    paths = {
        "out": "Folder of the run, new or empty. By default runs/ENV/AGENT-seedN.",
        "config": "YAML file with options, in the layout of a preset or of a run's config.yaml; or the name of a "
        "preset of the agent that fits any environment, such as td3 for ddpg.",
    }
    for name, text in paths.items():
        fields.append(
            (name, Annotated[Path | None, tyro.conf.arg(help=text)], dataclasses.field(default=None))
        )
    fields.append(
        ("seeds", Annotated[str | None, tyro.conf.arg(help=SEEDS_HELP)], dataclasses.field(default=None))
    )
    fields.append(("trust", TrustSwitch, dataclasses.field(default=False)))
    dry_run = "Train nothing; say what is chosen, and what the run takes of memory and disk."
    fields.append(("dry_run", Annotated[bool, tyro.conf.arg(help=dry_run)], dataclasses.field(default=False)))
    made = dataclasses.make_dataclass("TrainOptions", fields, frozen=True)
    made.__doc__ = f"Train {default.agent}."
    return made


def field_docs(cls: type[Any]) -> dict[str, str]:
    """Docstrings that stand under the fields of a dataclass."""
    import ast
    import inspect

    body = ast.parse(inspect.getsource(cls)).body[0].body  # type: ignore[attr-defined]
    docs = {}
    for statement, after in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
            docs[statement.target.id] = after.value.value  # type: ignore[union-attr,attr-defined]
    return docs


def parse_assignments(words: Iterable[str], option: str) -> dict[str, Any]:
    """Read `NAME=VALUE` words; values are YAML, so that `true`, `3` and `[1, 2]` are what they look like."""
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{option}: expected NAME=VALUE, got {word!r}")
        values |= parse_yaml(f"{name}: {text}", option)
    return values


def assignment_words(values: Mapping[str, Any]) -> list[str]:
    """The words that `parse_assignments` reads as these values."""
    return [f"{name}={yaml_word(value)}" for name, value in values.items()]
