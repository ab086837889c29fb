"""The encoder of a run that names none: it follows from what the environment's observations are."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import gymnasium
import yaml

from ...envs.backends.copies import close_env
from ...envs.make import EnvSpec, make_envs, make_single
from ...envs.outside import is_from_python
from ...envs.registry import find_environment
from ...envs.vector import Envs
from ...networks.pictures import is_picture
from ...networks.vectors import leaf_spaces


def default_encoder(
    env: str, kwargs: dict[str, Any], wrappers: tuple[str, ...] = (), backend: str = "auto"
) -> str:
    """Name of the encoder for an environment: `cnn` where its observations are pictures or hold some, else `mlp`."""
    # Of what a program has passed, another one may have the same name.
    asked = (env, yaml.safe_dump(kwargs), wrappers, backend)
    return _default_encoder.__wrapped__(*asked) if is_from_python(env) else _default_encoder(*asked)


@cache
def _default_encoder(env: str, kwargs: str, wrappers: tuple[str, ...], backend: str) -> str:
    made: Envs | gymnasium.Env
    try:
        spec = EnvSpec(env, 1, kwargs=yaml.safe_load(kwargs))
        match backend:
            case "envpool" | "ale":
                made = make_envs(replace(spec, backend=backend, workers=1))
            case _:
                made = make_single(replace(spec, wrappers=wrappers), find_environment(env))
    except Exception:  # whatever it is, it is reported where the environment is made to be used
        return "mlp"
    space = made.observation_space
    close_env(made)
    return "cnn" if any(is_picture(leaf) for leaf in leaf_spaces(space)) else "mlp"
