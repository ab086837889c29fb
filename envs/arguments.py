"""Arguments of environments and wrappers, as those who made them take them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.envs import registration


def with_arrays(make: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Lists as arrays where `make` takes those: weights, bounds of each dimension, or a map."""
    arrays = {p.name for p in _parameters(make) if _is_array(p)}
    return {
        name: np.array(value) if name in arrays and isinstance(value, list) else value
        for name, value in arguments.items()
    }


def _is_array(parameter: inspect.Parameter) -> bool:
    """Whether an argument is annotated as an array, or is one unless given."""
    annotation = str(parameter.annotation).lower()
    return isinstance(parameter.default, np.ndarray) or ("ndarray" in annotation and "list" not in annotation)


def nearest_argument(name: str, creator: Callable[..., Any]) -> str:
    """`name`, and the nearest argument that `creator` does take, or all of them."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {p.name for p in _parameters(creator) if p.kind in named}
    known = (known | {"max_episode_steps"}) - {"num_envs", "render_mode"}
    nearest = difflib.get_close_matches(name, known, n=1)
    return (
        f"'{name}'; did you mean '{nearest[0]}'?"
        if nearest
        else f"'{name}'; it takes {', '.join(sorted(known))}"
    )


def _parameters(make: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(make).parameters.values())
    except (TypeError, ValueError):  # compiled code need not tell
        return []


def creator_of(entry_point: Any) -> Callable[..., Any]:
    """What makes an environment: a class or a function, or where to import it from."""
    return entry_point if callable(entry_point) else registration.load_env_creator(entry_point)
