"""Options that ship with the package."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from .layers import nested
from .providers import provider_of
from .usage import UsageError, nearest
from .yaml_files import load_yaml, parse_yaml


def preset_path(agent: str, env: str) -> str:
    """Path of the preset for an agent in an environment, relative to `configs/`."""
    provider = provider_of("agent", agent)
    folder = agent if provider is None else f"{provider.presets}/{agent.removeprefix(provider.prefix)}"
    return f"{folder}/{re.sub('[/:]', '_', env)}.yaml"


def find_preset(agent: str, env: str) -> dict[str, Any]:
    """Return the preset for an agent in an environment, empty where there is none."""
    return _read_preset(preset_path(agent, env)) or {}


def read_config(agent: str, name: str) -> dict[str, Any]:
    """Read what `--config` names: a file, or one of the agent's own presets, such as `td3`.

    In a file, an option of a block may also stand under its name on the command line: `agent.gamma: 0.9`.

    Raises:
        UsageError: there is neither, or it is not a mapping.
    """
    if not name.isidentifier() or Path(name).exists():
        return nested(load_yaml(Path(name).expanduser()))
    preset = _read_preset(f"{agent}/{name}.yaml")
    if preset is None:
        folder = files("palaestra.configs").joinpath(agent)
        stems = [Path(entry.name).stem for entry in folder.iterdir()] if folder.is_dir() else []
        known = nearest(name, (stem for stem in stems if stem.isidentifier()))
        raise UsageError(f"--config {name}: neither a file nor a preset of {agent}; {known}")
    return preset


def _read_preset(path: str) -> dict[str, Any] | None:
    if not all(re.match(r"\w", part) for part in path.split("/")):
        return None  # no path of ours, and none that leads out of our folder
    entry = files("palaestra.configs").joinpath(path)
    return parse_yaml(entry.read_text(encoding="utf-8"), f"configs/{path}") if entry.is_file() else None
