"""A search as a file for `wandb sweep`, whose agents run `palaestra train`."""

from __future__ import annotations

from typing import Any

from ..settings.presets import merge
from ..settings.yaml_files import dump_yaml
from .search_space import SearchedOption, Space, nested


def wandb_sweep(space: Space, searched: dict[str, SearchedOption]) -> str:
    """The same search for `wandb sweep`: what is searched, what all trials have, and one run for each seed.

    Options reach `palaestra train` as a file, in the layout of a run's config: lists and switches, which W&B cannot
    write as options, stay what they are.
    """
    ranges = nested({name: distribution(option) for name, option in searched.items()})
    seeds = {"value": 0} if space.seeds == 1 else {"values": list(range(space.seeds))}
    parameters = merge(constants(space.options), {"seed": seeds}, nest_parameters(ranges))
    command = ["palaestra", "train", space.agent, "--env", space.env, "--steps", str(space.steps)]
    values = {
        "program": "palaestra",
        "method": "bayes" if space.sampler == "tpe" else "random",
        "metric": {"name": "eval/return", "goal": "maximize"},
        "parameters": parameters,
        "command": [*command, "--track", "wandb", "--config", "${args_json_file}"],
    }
    return dump_yaml(values)


def distribution(option: SearchedOption) -> dict[str, Any]:
    """W&B's name for a range."""
    if option.range.choices:
        return {"values": list(option.range.choices)}
    kind = {
        (True, True): "q_log_uniform_values",
        (True, False): "int_uniform",
        (False, True): "log_uniform_values",
        (False, False): "uniform",
    }[option.whole, option.range.log]
    low, high = (int(end) if option.whole else float(end) for end in option.range.ends)
    return {"distribution": kind, "min": low, "max": high}


def constants(options: dict[str, Any]) -> dict[str, Any]:
    """Parameters of one value each; those of a block stand below its `parameters`."""
    return {
        name: {"parameters": constants(value)} if isinstance(value, dict) and value else {"value": value}
        for name, value in options.items()
    }


def nest_parameters(blocks: dict[str, Any]) -> dict[str, Any]:
    """Distributions by nested option names as W&B nests them, below `parameters` of each block."""
    return {
        name: value if {"values", "distribution"} & value.keys() else {"parameters": nest_parameters(value)}
        for name, value in blocks.items()
    }
