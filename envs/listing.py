"""Which environments are there? Found by what is registered, plug-ins and known packages included."""

from __future__ import annotations

import fnmatch
import importlib.util
from typing import NamedTuple

import gymnasium
from gymnasium.envs import registration

from .backends.copies import close_env
from .make import EnvSpec, make_single
from .registry import PACKAGES, import_packages, load_plugins

# Gymnasium's families that need a package which Gymnasium itself does not.
REQUIRED_MODULES = {"box2d": "Box2D", "mujoco": "mujoco", "phys2d": "jax", "tabular": "jax"}


class Listing(NamedTuple):
    """An environment that `palaestra envs list` shows."""

    id: str
    family: str
    installed: bool
    """Whether the packages that it needs are there."""


def list_environments(pattern: str = "") -> list[Listing]:
    """What is registered, plug-ins included, by family; `pattern` is a part of an id, or has wildcards."""
    import_packages()
    load_plugins()
    wanted = pattern.lower() if set("*?[") & set(pattern) else f"*{pattern.lower()}*"
    found = [
        Listing(spec.id, family(spec), installed(spec))
        for spec in gymnasium.registry.values()
        # Gymnasium keeps the names of environments that it has dropped, to say so.
        if fnmatch.fnmatchcase(spec.id.lower(), wanted) and module_of(spec) != "gymnasium.envs"
    ]
    return sorted(found, key=lambda listing: (listing.family, listing.id))


def module_of(spec: registration.EnvSpec) -> str:
    """Module that an environment comes from."""
    entry_point = spec.entry_point or spec.vector_entry_point
    return entry_point.partition(":")[0] if isinstance(entry_point, str) else entry_point.__module__


def family(spec: registration.EnvSpec) -> str:
    """Gymnasium's own name for a family (`box2d`), the namespace of the id, or the package it comes from."""
    for beginning, package in PACKAGES.items():
        if spec.id.startswith(beginning):
            return package.extra
    module = module_of(spec).split(".")
    if module[:2] == ["gymnasium", "envs"]:
        return module[2]
    return spec.namespace or module[0]


def installed(spec: registration.EnvSpec) -> bool:
    """Whether the packages that an environment needs can be found; nothing is imported."""
    modules = (module_of(spec).partition(".")[0], REQUIRED_MODULES.get(family(spec), "gymnasium"))
    return all(importlib.util.find_spec(module) is not None for module in modules)


def spaces_of(env_id: str) -> tuple[str, str]:
    """Observation and action space of an environment, or why it cannot be made."""
    try:
        env = make_single(EnvSpec(env_id), gymnasium.registry[env_id])
    except Exception as error:
        return str(error).partition("\n")[0], ""
    try:
        return str(env.observation_space), str(env.action_space)
    finally:
        close_env(env)
