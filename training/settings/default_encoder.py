"""What follows from an environment's observations: the encoder of a run that names none, and its threads."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import gymnasium
import yaml
from gymnasium import spaces

from ...envs.backends.copies import close_env
from ...envs.make import EnvSpec, make_envs, make_single
from ...envs.outside import is_from_python
from ...envs.registry import find_environment
from ...envs.vector import Envs
from ...networks.pictures import is_picture, picture_layout, takes_nature, takes_planes
from ...networks.vectors import leaf_spaces


def default_encoder(
    env: str, kwargs: dict[str, Any], wrappers: tuple[str, ...] = (), backend: str = "auto"
) -> str:
    """Name of the encoder for an environment: `cnn` where its observations are pictures or hold some, else `mlp`."""
    return "cnn" if any(is_picture(leaf) for leaf in _leaves(env, kwargs, wrappers, backend)) else "mlp"


def has_large_pictures(env: str, kwargs: dict[str, Any], wrappers: tuple[str, ...], backend: str) -> bool:
    """Whether an environment shows pictures that are worth several threads of torch.

    Smaller ones have networks so small that more threads slow them down, as they do perceptrons.
    """
    leaves = _leaves(env, kwargs, wrappers, backend)
    layouts = [picture_layout(leaf.shape) for leaf in leaves if takes_planes(leaf) and leaf.shape]
    return any(takes_nature(layout.height, layout.width) for layout in layouts)


def _leaves(env: str, kwargs: dict[str, Any], wrappers: tuple[str, ...], backend: str) -> list[spaces.Space]:
    """The spaces that an environment's observations consist of; none where it cannot be made."""
    # Of what a program has passed, another one may have the same name.
    asked = (env, yaml.safe_dump(kwargs), wrappers, backend)
    return _leaves_of.__wrapped__(*asked) if is_from_python(env) else _leaves_of(*asked)


@cache
def _leaves_of(env: str, kwargs: str, wrappers: tuple[str, ...], backend: str) -> list[spaces.Space]:
    made: Envs | gymnasium.Env
    try:
        spec = EnvSpec(env, 1, kwargs=yaml.safe_load(kwargs))
        match backend:
            case "envpool" | "ale":
                made = make_envs(replace(spec, backend=backend, workers=1))
            case _:
                made = make_single(replace(spec, wrappers=wrappers), find_environment(env))
    except Exception:  # whatever it is, it is reported where the environment is made to be used
        return []
    space = made.observation_space
    close_env(made)
    return list(leaf_spaces(space))
