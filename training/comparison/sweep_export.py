"""A search as a file for `wandb sweep`, whose agents run `palaestra train`."""

from __future__ import annotations

from typing import Any

from ..settings.typed import flat
from ..settings.yaml_files import dump_yaml
from .search_space import SearchedOption, Space


def wandb_sweep(space: Space, searched: dict[str, SearchedOption]) -> str:
    """The same search for `wandb sweep`: what is searched, what all trials have, and the seeds.

    Options reach `palaestra train` as a file, not as words: W&B writes lists and switches in a way that no command
    line reads.
    """
    seeds = {"value": 0} if space.seeds == 1 else {"values": list(range(space.seeds))}
    constants = {name: {"value": value} for name, value in flat(space.options).items()}
    ranges = {name: distribution(option) for name, option in searched.items()}
    command = ["palaestra", "train", space.agent, "--env", space.env, "--steps", str(space.steps)]
    values = {
        "program": "palaestra",
        "method": "bayes" if space.sampler == "tpe" else "random",
        "metric": {"name": "eval/return", "goal": "maximize"},
        "parameters": {"seed": seeds, **constants, **ranges},
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
