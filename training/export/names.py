"""Names of inputs and outputs, and the keys under which environments know them."""

from __future__ import annotations

import re
from typing import Any

from gymnasium import spaces

# From the whole observation or action to one of its arrays: keys of Dicts, numbers in Tuples.
Path = tuple[Any, ...]


def leaf_paths(space: spaces.Space, above: Path = ()) -> list[Path]:
    """Ways to the leaves of a space, in the order of `leaf_spaces`."""
    match space:
        case spaces.Dict():
            return [path for key, part in space.items() for path in leaf_paths(part, (*above, key))]
        case spaces.Tuple():
            return [path for number, part in enumerate(space) for path in leaf_paths(part, (*above, number))]
    return [above]


def named(beginning: str, path: Path) -> str:
    """A name for what lies at a path: `obs_position`, `action_0_speed`."""
    return "_".join([beginning, *(re.sub(r"\W", "_", str(key)) for key in path)])


def key_of(path: Path) -> Any:
    """A path as it stands in policy.json: None, a key or a number, or a list of these."""
    plain = [key if isinstance(key, int) else str(key) for key in path]
    return (plain[0] if len(plain) == 1 else plain) if plain else None


def distinct(names: list[str]) -> list[str]:
    """The same names, numbered where they would be the same."""
    found: list[str] = []
    for name in names:
        number, free = 2, name
        while free in found:
            number, free = number + 1, f"{name}_{number}"
        found.append(free)
    return found
