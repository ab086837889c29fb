"""Finding environments by name, plug-ins of other packages included."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import warnings
from contextlib import nullcontext
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import gymnasium
from gymnasium.envs import registration

from .backends.torch_settings import keeps_torch_settings
from .moved import current_name
from .outside import (
    CopyOf,
    FromFile,
    given_object,
    is_file,
    is_from_python,
    load_module,
    not_given,
    short_name,
)
from .providers import find_provider

PLUGIN_GROUP = "gymnasium.envs"
# The plug-in name that stands for "ids without a namespace", a convention since Gym 0.21.
ROOT = "__root__"
# Functions by which some packages register their environments, where others do it when they are imported.
REGISTERING = re.compile(r"register\w*env\w*")
# So like a known name, it is a slip of the pen and no id of another package.
CERTAIN = 0.9


class Package(NamedTuple):
    """A package whose environments are there once it is imported; Gymnasium itself no longer does that."""

    module: str
    extra: str
    """What of ours installs it: `pip install 'palaestra[extra]'`."""
    needs: str = ""
    """Another module, without which it registers nothing."""


# By what their ids begin with.
PACKAGES = {
    "ALE/": Package("ale_py", "atari"),
    "MiniGrid-": Package("minigrid", "minigrid"),
    "BabyAI-": Package("minigrid", "minigrid"),
    "MinAtar/": Package("minatar", "minatar"),
    "dm_control/": Package("shimmy", "dm-control", needs="dm_control"),
}


@keeps_torch_settings
def find_environment(env_id: str) -> registration.EnvSpec:
    """Return what is registered under `env_id`.

    `module:Id` imports `module` first; `module:Class` is a class, or a function that returns an environment,
    which nobody needs to register. A module may be the path of a file: `./my_env.py:Class`.

    Raises `ValueError` with the nearest name where there is nothing.
    """
    env_id = current_name(env_id)
    module_name, _, name = env_id.rpartition(":")
    if is_from_python(env_id):
        return _given(env_id, name)
    module = _import(module_name, env_id) if module_name else None
    if name not in gymnasium.registry:
        if module is not None and name in environments_in(module):
            if not is_file(module_name):
                return registration.EnvSpec(env_id, entry_point=env_id)
            return registration.EnvSpec(name, entry_point=FromFile(Path(module_name), name))
        if module is not None:
            _ask_to_register(module, env_id)
        _import_package(env_id)
        load_plugins(name.rpartition("/")[0] or ROOT)
    if name not in gymnasium.registry:
        raise ValueError(f"unknown environment '{env_id}'; {_suggestion(module_name, module, name)}")
    return gymnasium.registry[name]


def _given(env_id: str, name: str) -> registration.EnvSpec:
    """What makes the environment that a program has passed."""
    maker = given_object(env_id)
    if maker is None:
        raise ValueError(not_given("environment", env_id))
    # An object has the wrappers that it came with.
    bare = isinstance(maker, CopyOf)
    return registration.EnvSpec(name, entry_point=maker, order_enforce=not bare, disable_env_checker=bare)


def _import(module_name: str, env_id: str) -> ModuleType:
    if not is_file(module_name) and not all(part.isidentifier() for part in module_name.split(".")):
        meant = f"{module_name}.py:{env_id.rpartition(':')[2]}"
        hint = f"; did you mean {meant}?" if Path(f"{module_name}.py").is_file() else ""
        raise ValueError(
            f"environment '{env_id}': expected Id, module:Id, module:Class or FILE.py:Class{hint}"
        )
    try:
        return load_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"environment '{env_id}': {error}") from error
    except Exception as error:
        if is_file(module_name):
            raise ValueError(f"environment '{short_name(env_id)}': {error}") from error
        raise ValueError(f"environment '{env_id}': cannot import {module_name}: {_said(error)}") from error


def _ask_to_register(module: ModuleType, env_id: str) -> None:
    try:
        registers(module, env_id.rpartition(":")[2])
    except Exception as error:
        raise ValueError(
            f"environment '{env_id}': {module.__name__} cannot register it: {_said(error)}"
        ) from error


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def registers(module: ModuleType, name: str) -> bool:
    """Whether a module has registered an id; its functions for that are called where importing it was not enough.

    `bluesky_gym.register_envs()` is one. What such a function raises is left as it is.
    """
    for key, function in [] if name in gymnasium.registry else list(vars(module).items()):
        if REGISTERING.fullmatch(key) and inspect.isfunction(function):
            options = inspect.signature(function).parameters.values()
            if all(option.default is not option.empty for option in options):
                function()
    return name in gymnasium.registry


def environments_in(module: ModuleType) -> list[str]:
    """Names of the environment classes of a module, and of its functions, which may make one."""

    def makes_one(value: object) -> bool:
        is_class = inspect.isclass(value) and issubclass(value, gymnasium.Env) and value is not gymnasium.Env
        return is_class or (inspect.isfunction(value) and value.__module__ == module.__name__)

    return [name for name, value in vars(module).items() if makes_one(value) and not name.startswith("_")]


def _import_package(env_id: str) -> None:
    """Import the package that an id tells of by its beginning."""
    for beginning, package in PACKAGES.items():
        if env_id.startswith(beginning):
            for module in filter(None, (package.module, package.needs)):
                if importlib.util.find_spec(module) is None:
                    raise ValueError(
                        f"environment '{env_id}' needs {module}: pip install 'palaestra[{package.extra}]'"
                    )
            importlib.import_module(package.module)


def import_packages() -> None:
    """Import every package of `PACKAGES` that is installed, so that all ids are known."""
    for package in set(PACKAGES.values()):
        modules = filter(None, (package.module, package.needs))
        if all(importlib.util.find_spec(module) is not None for module in modules):
            importlib.import_module(package.module)


def _suggestion(module_name: str, module: ModuleType | None, name: str) -> str:
    prefix = f"{module_name}:" if module else ""
    known = [*gymnasium.registry, *(environments_in(module) if module else [])]
    nearest = difflib.get_close_matches(name, known, n=1)
    if nearest and difflib.SequenceMatcher(None, name, nearest[0]).ratio() >= CERTAIN:
        return f"did you mean '{prefix}{nearest[0]}'?"
    if provider := find_provider(name):
        package, home = provider
        return f"the package {package} registers it: use {home}:{name}"
    if nearest:
        return f"did you mean '{prefix}{nearest[0]}'?"
    if module is not None:
        return f"{module_name} registers none of that name; `palaestra envs list` shows what there is"
    return (
        "`palaestra envs list` shows what there is; ids that a package registers when it is imported are written "
        "module:Id, for example flappy_bird_gymnasium:FlappyBird-v0"
    )


_loaded: set[EntryPoint] = set()


def load_plugins(namespace: str | None = None) -> None:
    """Let installed packages register their environments: those of one namespace, or all.

    Gymnasium 1.x no longer does it. It imports foreign code, so it is done only when somebody asks for such
    an environment. A plug-in that fails is reported and left out.
    """
    for plugin in entry_points(group=PLUGIN_GROUP):
        if plugin in _loaded or namespace not in (None, plugin.name):
            continue
        _loaded.add(plugin)
        with nullcontext() if plugin.name == ROOT else registration.namespace(plugin.name):
            # Caught inside: Gymnasium's `namespace` does not clean up after an exception.
            try:
                plugin.load()()
            except Exception as error:
                warnings.warn(
                    f"the environments of plug-in '{plugin.name} = {plugin.value}' are missing: "
                    f"{type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
