"""Where a vector environment is, if it keeps that in plain attributes: arrays, numbers, random generators."""

from __future__ import annotations

from dataclasses import is_dataclass
from itertools import combinations
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

PLAIN = (bool, int, float, str, type(None), np.generic)
# What an environment sets once and leaves alone, besides frozen dataclasses.
CONSTANT = (spaces.Space, EnvSpec)

BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


def can_snapshot(env: VectorEnv) -> bool:
    """Whether nothing in `env` would be missing from its snapshot, as it is now."""
    return (
        env.unwrapped is env
        and all(
            _is_state(value) or isinstance(value, CONSTANT) or _is_frozen(value) or name == "metadata"
            for name, value in vars(env).items()
        )
        and not _has_views(env)
    )


def _has_views(env: VectorEnv) -> bool:
    """Whether one array is a part of another, which it would not be any more where each is set back by itself."""
    arrays = {id(value): value for value in vars(env).values() if isinstance(value, np.ndarray)}
    return any(np.may_share_memory(one, other) for one, other in combinations(arrays.values(), 2))


def _is_frozen(value: Any) -> bool:
    return is_dataclass(value) and type(value).__dataclass_params__.frozen  # type: ignore[union-attr]


def _is_state(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype != object
    return isinstance(value, (*PLAIN, np.random.Generator))


def take_snapshot(env: VectorEnv) -> dict[str, Any]:
    """Return the plain attributes of `env`, the state of its generators, and which names are one object."""
    state: dict[str, Any] = {"attributes": {}, "generators": {}, "same": {}}
    names: dict[int, str] = {}
    for name, value in vars(env).items():
        if (
            isinstance(value, np.ndarray | np.random.Generator)
            and (first := names.setdefault(id(value), name)) != name
        ):
            state["same"][name] = first
        elif isinstance(value, np.random.Generator):
            state["generators"][name] = value.bit_generator.state
        elif isinstance(value, np.ndarray) and _is_state(value):
            state["attributes"][name] = value.copy()
        elif _is_state(value):
            # NumPy's scalars keep their type, which decides how they are rounded, as arrays without axes.
            state["attributes"][name] = np.asarray(value) if isinstance(value, np.generic) else value
    return state


def restore_snapshot(env: VectorEnv, state: dict[str, Any]) -> None:
    """Set the attributes of `env`, which was made in the same way, to those of the snapshot."""
    for name, value in state["attributes"].items():
        if isinstance(value, np.ndarray):
            value = value.copy() if value.ndim else value[()]
        setattr(env, name, value)
    for name, generator_state in state["generators"].items():
        kind = str(generator_state["bit_generator"])
        if kind not in BIT_GENERATORS:
            raise ValueError(f"there is no generator {kind!r}")
        bit_generator = getattr(np.random, kind)()
        bit_generator.state = generator_state
        setattr(env, name, np.random.Generator(bit_generator))
    for name, first in state.get("same", {}).items():  # checkpoints of before have it not
        setattr(env, name, getattr(env, first))
