"""Options of `palaestra world-model fit`: which there are depends on encoder and dynamics."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..settings.arguments import TrustSwitch, option_value, option_words, parse
from ..settings.components import find_component
from ..settings.layers import merge_options
from ..settings.train_options import field_docs, parse_assignments
from ..settings.trust import check_names
from ..settings.typed import shallow_dict
from ..settings.usage import UsageError
from ..settings.yaml_files import load_yaml
from .world_model_config import PARTS, WorldModelConfig, config_class, to_dict, world_model_config


def read_fit_options(arguments: list[str]) -> tuple[WorldModelConfig, Path]:
    """Return the config of a world model and its folder; defaults, then `--config FILE`, then options."""
    helping = bool({"-h", "--help"} & set(arguments))
    config_file = option_value(arguments, "config")
    given = load_yaml(Path(config_file)) if config_file else {}
    env = option_value(arguments, "env") or given.get("env")
    if env is None and not helping:
        raise UsageError("which environment? give --env, for example --env CartPole-v1")
    kwargs = parse_assignments(option_words(arguments, "env-kwargs") or [], "--env-kwargs")
    named: dict[str, Any] = {"env": str(env or "CartPole-v1"), "env_kwargs": kwargs}
    for block in PARTS:
        if name := option_value(arguments, block):
            named[block] = {"name": name}
    if config_file:
        check_names(merge_options(given, named, blocks=PARTS), config_file)
    default = world_model_config(
        merge_options(given, named, blocks=PARTS), f"{config_file}: " if config_file else ""
    )
    components = [find_component(kind, getattr(default, kind)) for kind in PARTS.values()]
    parsed = shallow_dict(
        parse(_options_class(config_class(*components), default), arguments, "world-model fit")
    )
    run_dir = parsed.pop("out")
    del parsed["config"], parsed["trust"]
    if run_dir is None:
        raise UsageError("where to? give --out, for example --out world-models/cartpole")
    parsed["env_kwargs"] = default.env_kwargs | kwargs
    # Ranges are checked by reading the result once more, as if it stood in a file.
    return world_model_config(to_dict(WorldModelConfig(**parsed)), "--"), run_dir


def _options_class(config_class: type[Any], default: WorldModelConfig) -> type[Any]:
    """Return a dataclass for the option parser: the config, and where to write."""
    renamed = {
        "observation_model": "encoder",
        "observation_model_config": "encoder",
        "dynamics_config": "dynamics",
    }
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
    fields.append(("trust", TrustSwitch, dataclasses.field(default=False)))
    for name, text in (
        ("out", "Folder of the world model, new or empty."),
        ("config", "YAML file with options."),
    ):
        kind = Annotated[Path | None, tyro.conf.arg(help=text)]
        fields.append((name, kind, dataclasses.field(default=None)))
    made = dataclasses.make_dataclass("FitOptions", fields, frozen=True)
    made.__doc__ = "Collect data and fit a world model."
    return made
