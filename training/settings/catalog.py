"""What `palaestra envs list` shows: environments by family, with their spaces and the presets that exist."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import groupby
from typing import Any

from ...envs.listing import list_environments, spaces_of
from .presets import preset_path
from .providers import PROVIDERS
from .usage import closest


def catalog(pattern: str = "", with_spaces: bool = False) -> list[dict[str, Any]]:
    """Return environments, sorted by family, each with what is known of it."""
    entries = []
    for listing in list_environments(pattern):
        entry: dict[str, Any] = listing._asdict() | {"presets": presets(listing.id)}
        if with_spaces and listing.installed:
            entry["observation_space"], entry["action_space"] = spaces_of(listing.id)
        entries.append(entry)
    return entries


def presets(env: str) -> list[str]:
    """Agents that have a preset for an environment."""
    configs = files("palaestra.configs")
    agents = [entry.name for entry in configs.iterdir() if entry.is_dir()]
    theirs = PROVIDERS["agent"]
    agents += [theirs.prefix + entry.name for entry in configs.joinpath(theirs.presets).iterdir()]
    return sorted(agent for agent in agents if configs.joinpath(preset_path(agent, env)).is_file())


def format_catalog(entries: list[dict[str, Any]]) -> str:
    """Lay environments out for reading, one paragraph a family."""
    lines = []
    for family, members in groupby(entries, key=lambda entry: entry["family"]):
        found = list(members)
        missing = "" if all(entry["installed"] for entry in found) else ", not installed"
        lines.append(f"{family} ({len(found)}{missing})")
        for entry in found:
            presets = f"presets: {', '.join(entry['presets'])}" if entry["presets"] else ""
            lines.append(f"  {entry['id']:<40} {presets}".rstrip())
            if "observation_space" in entry:
                lines += [f"      {entry['observation_space']}", f"      {entry['action_space']}"]
    return "\n".join(lines)


def no_environment(pattern: str) -> str:
    """Message that no id contains a pattern, with the name that is most like it."""
    # By the name alone: a pattern is less like the whole id.
    names = {re.split(r"[-/]", listing.id.removeprefix("palaestra/"))[0] for listing in list_environments()}
    close = closest(pattern, sorted(names))
    hint = f"did you mean {close!r}?" if close else "`palaestra envs list` shows what there is"
    return f"no environment's id contains {pattern!r}; {hint}"
