"""Names of wrappers and environments that have moved: runs and commands of earlier versions still hold the old ones."""

from __future__ import annotations

import sys
from functools import cache

# Modules, or single names in them, by their names in version 0.1.0.
MOVED = {
    "palaestra.envs.atari": "palaestra.envs.wrappers.atari",
    "palaestra.envs.minigrid": "palaestra.envs.wrappers.minigrid",
    "palaestra.envs.wrappers:ShowActionMask": "palaestra.envs.wrappers.action_mask:ShowActionMask",
    "palaestra.envs.wrappers:BytePictures": "palaestra.envs.wrappers.repairs:BytePictures",
    "palaestra.envs.wrappers:FreshWorld": "palaestra.envs.wrappers.repairs:FreshWorld",
    "palaestra.envs.catch": "palaestra.envs.tasks.catch",
    "palaestra.envs.classic": "palaestra.envs.tasks.classic",
    "palaestra.envs.corridor": "palaestra.envs.tasks.corridor",
    "palaestra.envs.memory_tasks": "palaestra.envs.tasks.memory_tasks",
    "palaestra.envs.probes": "palaestra.envs.tasks.probes",
}


def current_name(name: str) -> str:
    """Today's name of a `module:name`, which may be followed by arguments; says so where it has moved."""
    path, bracket, arguments = name.partition("(")
    module, colon, attribute = path.rpartition(":")
    if path in MOVED:
        current = MOVED[path]
    elif module in MOVED:
        current = MOVED[module] + colon + attribute
    else:
        return name
    _report(path, current)
    return current + bracket + arguments


@cache
def _report(old: str, current: str) -> None:
    """Say it once a process."""
    print(f"note: {old} is now {current}", file=sys.stderr)
