"""What is wrong with what an environment's reset and step return; every line says what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from .backends.copies import ONE_NUMBER


def result_problems(space: spaces.Space, result: Any) -> Iterator[str]:
    """What is wrong with what `step` returned."""
    if not isinstance(result, tuple) or len(result) != 5:
        size = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        yield f"{size} instead of (obs, reward, terminated, truncated, info)"
        return
    obs, reward, terminated, truncated, info = result
    yield from obs_problems(space, obs)
    if np.size(reward) != 1:
        yield f"a reward of shape {np.shape(reward)}; {ONE_NUMBER}"
    elif not isinstance(reward, (int, float, np.integer, np.floating)):
        yield f"a reward of type {type(reward).__name__}; make it a float"
    elif not np.isfinite(reward):
        yield f"the reward {reward}; it must be finite"
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, (bool, np.bool_)):
            yield f"{name} of type {type(flag).__name__}; make it a bool"
    if not isinstance(info, dict):
        yield f"an info of type {type(info).__name__}; make it a dict"


def obs_problems(space: spaces.Space, obs: Any, path: str = "") -> Iterator[str]:
    """What is wrong with an observation; nested spaces part by part."""
    name = f"the observation{path}"
    match space:
        case spaces.Dict():
            if not isinstance(obs, dict) or obs.keys() != space.keys():
                found = sorted(obs) if isinstance(obs, dict) else type(obs).__name__
                yield f"{name} with {found}; its space has the keys {sorted(space)}"
                return
            for key, part in space.items():
                yield from obs_problems(part, obs[key], f"{path}['{key}']")
        case spaces.Tuple():
            if not isinstance(obs, tuple) or len(obs) != len(space):
                yield f"{name} as {type(obs).__name__}; its space is a tuple of {len(space)}"
                return
            for i, part in enumerate(space):
                yield from obs_problems(part, obs[i], f"{path}[{i}]")
        case spaces.Box():
            yield from array_problems(space, np.asarray(obs), name)
        case _ if obs not in space:
            yield f"{name} {obs!r}, which is not in its space {space}"


def array_problems(space: spaces.Box, obs: np.ndarray, name: str) -> Iterator[str]:
    """What is wrong with an array that should lie in a Box."""
    if obs.shape != space.shape:
        yield f"{name} of shape {obs.shape}; its space says {space.shape}"
    elif obs.dtype != space.dtype:
        yield f"{name} of dtype {obs.dtype}; its space says {space.dtype}"
    elif np.isnan(obs).any():
        yield f"{name} with NaN in it"
    elif (obs < space.low).any() or (obs > space.high).any():
        yield f"{name} outside the bounds of its space"
