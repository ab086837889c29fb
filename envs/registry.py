"""Finding environments by name, plug-ins of other packages included."""

from __future__ import annotations

import difflib
import importlib
import warnings
from contextlib import nullcontext
from importlib.metadata import EntryPoint, entry_points

import gymnasium
from gymnasium.envs import registration

PLUGIN_GROUP = "gymnasium.envs"
# The plug-in name that stands for "ids without a namespace", a convention since Gym 0.21.
ROOT = "__root__"


def find_environment(env_id: str) -> registration.EnvSpec:
    """Return what is registered under `env_id`, which may be `module:Id` to import `module` first.

    Raises `ValueError` with the nearest name where there is nothing.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"environment '{env_id}': {error}") from error
    if name not in gymnasium.registry:
        namespace = name.rpartition("/")[0]
        load_plugins(namespace or ROOT)
    if name not in gymnasium.registry:
        raise ValueError(f"unknown environment '{env_id}'; {_suggestion(module, name)}")
    return gymnasium.registry[name]


def _suggestion(module: str, name: str) -> str:
    nearest = difflib.get_close_matches(name, gymnasium.registry, n=1)
    if nearest:
        return f"did you mean '{module}:{nearest[0]}'?" if module else f"did you mean '{nearest[0]}'?"
    return "`palaestra envs list` shows what there is"


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
