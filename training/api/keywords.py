"""Keywords of `palaestra.train` to the config that the command line would have made of the same options."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .training.settings.config import BLOCKS, RunConfig, names_of, run_config
from .training.settings.layers import merge_options, nested
from .training.settings.presets import find_preset
from .training.settings.train_options import check_written_for, options_not_taken, read_given
from .training.settings.trust import check_names
from .training.settings.typed import checked_value
from .training.settings.usage import UsageError, nearest
from .training.settings.yaml_files import dump_yaml
from .within import BLOCKS as BLOCK_KEYWORDS

Device = Literal["auto", "cpu", "cuda"]

# Keywords of `train` that are no options of a run.
OTHERS = ("agent", "config", "out", "progress", "trust")
OPTIONS = {field.name for field in dataclasses.fields(RunConfig)} - {"agent", *BLOCKS.values()}
KEYWORDS = sorted(OPTIONS | {BLOCK_KEYWORDS[block] for block in BLOCKS})


def config_of(
    agent: str, config: str | Path | Mapping[str, Any] | None, preset_env: str | None, given: dict[str, Any]
) -> RunConfig:
    """Return a run's config. Later ones win: defaults, the preset for agent and environment, `config`, keywords.

    Args:
        agent: its name.
        config: a file, a preset of the agent, or options in the layout of such a file.
        preset_env: environment whose preset is taken where it is not the one that is named.
        given: keywords, those that are None left out.

    Raises:
        UsageError: a keyword, a name or a value is wrong.
    """
    for name in given:
        if name not in KEYWORDS:
            raise UsageError(f"train: unknown keyword {name!r}; {nearest(name, [*KEYWORDS, *OTHERS])}")
    given = {name: plain_value(value) for name, value in given.items()}
    check_env_kwargs(given.get("env_kwargs"))
    hidden = options_not_taken(agent)
    for name in sorted(
        given.keys() & (hidden | {BLOCK_KEYWORDS[block] for block in BLOCKS if block in hidden})
    ):
        raise UsageError(f"{name}: {agent} does not take it")
    file = read_file(agent, config)
    values = in_blocks(given) | {"agent": {"name": agent, **in_blocks(given).get("agent", {})}}
    env = str(values.get("env") or file.get("env") or "")
    if not env:
        raise UsageError("which environment? give env, for example env='CartPole-v1'")
    preset = find_preset(agent, preset_env or env)
    if config is not None:
        where = "config" if isinstance(config, Mapping) else str(config)
        check_names(merge_options(file, values), where)
        # Checked alone, so that a mistake is reported with the place where it stands.
        run_config(merge_options(preset, file, names_of(values), {"env": env}), f"{where}: ")
    return run_config(merge_options(preset, file, values, {"env": env}), "--")


def read_file(agent: str, config: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """What `config` gives."""
    if config is None:
        return {}
    if isinstance(config, Mapping):
        given = nested({str(name): plain_value(value) for name, value in config.items()})
        check_written_for(agent, given, "config: ")
        return given
    return read_given(agent, str(config))


def in_blocks(given: dict[str, Any]) -> dict[str, Any]:
    """Keywords in the layout of a run's `config.yaml`.

    Raises:
        UsageError: options are no mapping, or belong to a part that is not chosen.
    """
    values = {name: value for name, value in given.items() if name not in BLOCK_KEYWORDS.values()}
    for block in BLOCKS:
        options = given.get(BLOCK_KEYWORDS[block], {})
        if not isinstance(options, dict):
            raise UsageError(f"{BLOCK_KEYWORDS[block]}: expected a mapping, got {reprlib.repr(options)}")
        if "name" in options:
            raise UsageError(f"{BLOCK_KEYWORDS[block]}.name: unknown key; give {block}={options['name']!r}")
        name = {"name": values.pop(block)} if block in values else {}
        if name or options:
            values[block] = name | options
    if "env_options" in given:
        values["env_options"] = given["env_options"]
    return values


def check_env_kwargs(kwargs: Any) -> None:
    """Raise `UsageError` where an argument of the environment is something that the run's config cannot say."""
    try:
        dump_yaml({"env_kwargs": kwargs})
    except TypeError as error:
        raise UsageError(
            f"env_kwargs: {error}; give a function that makes the environment instead: env=lambda: MyEnv(...)"
        ) from None


def keyword(name: str, value: Any, hint: Any) -> Any:
    """The value of a keyword as its annotation wants it: NumPy's numbers are Python's, counts may be text ("100k").

    Raises:
        UsageError: it is of another type, or out of range.
    """
    return checked_value(hint, plain_value(value), name)


def several(names: str | Sequence[str]) -> tuple[str, ...]:
    """Names, of which one may stand alone."""
    return (names,) if isinstance(names, str) else tuple(names)


def plain_value(value: Any) -> Any:
    """The value as a file would hold it: NumPy's numbers are Python's, paths are text, tuples are lists."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain_value(item) for name, item in value.items()}
    return [plain_value(item) for item in value] if isinstance(value, list | tuple) else value
