"""Reference scores: return of random actions and of a good agent, by environment."""

from __future__ import annotations

import math
from importlib.resources import files
from typing import Any

from ..settings.usage import UsageError
from ..settings.yaml_files import parse_yaml

# Return of random actions and of a good agent, by environment.
References = dict[str, tuple[float, float]]


def read_references(entries: dict[str, Any], where: str) -> References:
    """Read return of random actions and of a good agent by environment.

    Raises:
        UsageError: a value is not two numbers of which the second is larger.
    """
    for env, pair in entries.items():
        if not (
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and all(isinstance(value, int | float) and not isinstance(value, bool) for value in pair)
            and all(map(math.isfinite, pair))
            and pair[0] < pair[1]
        ):
            raise UsageError(
                f"{where}{env}: must be [return of random actions, return of a good agent], got {pair!r}"
            )
    return {env: (float(low), float(high)) for env, (low, high) in entries.items()}


def reference_scores() -> References:
    """Reference scores that ship with the package."""
    entry = files("palaestra.configs").joinpath("reference_scores.yaml")
    return read_references(parse_yaml(entry.read_text(encoding="utf-8"), entry.name), f"{entry.name}: ")
