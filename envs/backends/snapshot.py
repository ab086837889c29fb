"""Where a vector environment is, if it keeps that in plain attributes: arrays, numbers, random generators."""

from __future__ import annotations

from dataclasses import is_dataclass
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
    """Whether nothing in `env` would be missing from its snapshot."""
    return env.unwrapped is env and all(
        _is_state(value) or isinstance(value, CONSTANT) or _is_frozen(value) or name == "metadata"
        for name, value in vars(env).items()
    )


def _is_frozen(value: Any) -> bool:
    return is_dataclass(value) and type(value).__dataclass_params__.frozen  # type: ignore[union-attr]


def _is_state(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype != object
    return isinstance(value, (*PLAIN, np.random.Generator))


def take_snapshot(env: VectorEnv) -> dict[str, Any]:
    """Return the plain attributes of `env`, and the state of its generators."""
    state: dict[str, Any] = {"attributes": {}, "generators": {}}
    for name, value in vars(env).items():
        if isinstance(value, np.random.Generator):
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
