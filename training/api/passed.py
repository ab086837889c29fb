"""What a program passes where the command line takes names: classes, functions and environment objects."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.utils import EzPickle
from gymnasium.vector import VectorEnv

from .envs.outside import FROM_PYTHON, CopyOf, absolute_name
from .training.baselines.algorithms import baseline_name
from .training.settings.components import Kind, component_names
from .training.settings.usage import UsageError
from .training.tracking.progress import say

EnvLike = str | type[gymnasium.Env] | Callable[..., gymnasium.Env] | gymnasium.Env


class Passed:
    """Objects by the names that stand for them in a run's config, and names that are trusted, as they were given.

    A class or function of a module that can be imported is named as on the command line, `module:Name`; whatever
    else, what a notebook's cell defines for instance, is `from-python:Name`, and has to be passed again.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.names: set[str] = set()
        self.preset_env: str | None = None
        """Id whose presets suit an environment object."""

    def env(self, env: EnvLike) -> str:
        """Return the name that stands for an environment.

        Raises:
            UsageError: it is none, or an object of which no copies can be made.
        """
        if isinstance(env, str):
            return self._trusted(absolute_name(env))
        if isinstance(env, VectorEnv):
            raise UsageError(
                "env: a vector environment was given; give one environment, and num_envs copies are made"
            )
        if isinstance(env, gymnasium.Env):
            return self._env_object(env)
        if not callable(env):
            kind = type(env).__name__
            raise UsageError(f"env: must be an id, a class, a function or an environment object, got {kind}")
        if isinstance(env, type) and not issubclass(env, gymnasium.Env):
            raise UsageError(f"env: {env.__name__} is no subclass of gymnasium.Env")
        return self._named(env, env)

    def component(self, kind: Kind, given: str | type[Any]) -> str:
        """Return the name that stands for an agent, encoder or memory.

        Raises:
            UsageError: it is neither a name nor a class.
        """
        if isinstance(given, str):
            return self._trusted(absolute_name(given))
        if not isinstance(given, type):
            raise UsageError(f"{kind}: must be a name or a class, got {type(given).__name__}")
        if kind == "agent" and (baseline := baseline_name(given)) is not None:
            return baseline
        stem = given.__module__.rpartition(".")[2]
        if given.__module__.startswith("palaestra.") and stem in component_names(kind):
            return stem
        return self._named(given, given)

    def again(self, name: str, given: Any, kind: Kind | None = None) -> None:
        """Let an object stand for the name that it has in a config already.

        Raises:
            UsageError: the name stands for something else.
        """
        own = self.env(given) if kind is None else self.component(kind, given)
        if name.startswith(FROM_PYTHON) and not isinstance(given, str):
            self.objects[name] = self.objects.pop(own, given)
            self.names.add(name)
        elif own != name:
            raise UsageError(f"{kind or 'env'}: the run was made with {name!r}, not with {own!r}")

    def _env_object(self, env: gymnasium.Env) -> str:
        kind = type(env.unwrapped).__name__
        if env.render_mode == "human":
            raise UsageError(
                f"env: {kind} with render_mode='human' would open a window for every copy; leave it out"
            )
        copies = CopyOf(env)
        try:
            copies().close()
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise UsageError(
                f"env: no copies can be made of this {kind} object ({what}); give its id, its class or a function "
                "that makes it"
            ) from error
        if isinstance(env.unwrapped, EzPickle):
            say(
                f"note: copies of {kind} are made by its constructor; what was changed in the object is not in them"
            )
        self.preset_env = env.spec.id if env.spec is not None else None
        return self._keep(kind, copies)

    def _named(self, given: Any, kept: Any) -> str:
        name = importable_name(given)
        return self._trusted(name) if name is not None else self._keep(display_name(given), kept)

    def _trusted(self, name: str) -> str:
        self.names.add(name)
        return name

    def _keep(self, name: str, kept: Any) -> str:
        self.objects[FROM_PYTHON + name] = kept
        return self._trusted(FROM_PYTHON + name)


def importable_name(given: Any) -> str | None:
    """Return `module:Name` of a class or function that another process can import so; None where it cannot."""
    name, home = getattr(given, "__qualname__", ""), getattr(given, "__module__", None)
    module = sys.modules.get(home or "")
    if home in (None, "__main__") or getattr(module, name, None) is not given:
        return None
    file = getattr(module, "__file__", None)
    return f"{home}:{name}" if file is not None and _is_found(home, Path(file)) else None


def _is_found(module: str, file: Path) -> bool:
    """Whether a module's name leads to its file, for somebody who has not imported it."""
    places: Sequence[str] | None = None
    origin: str | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        # As the import system searches, but for what is loaded already.
        found = (finder.find_spec(".".join(parts[:count]), places) for finder in sys.meta_path)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None:
            return False
        places, origin = spec.submodule_search_locations, spec.origin
    return origin is not None and Path(origin).resolve() == file.resolve()


def display_name(given: Any) -> str:
    """A word for an object, to be part of a file's name."""
    while isinstance(given, functools.partial):
        given = given.func
    found = getattr(given, "__name__", None) or type(given).__name__
    word = re.sub(r"\W+", "_", found).strip("_")
    return word or ("function" if inspect.isroutine(given) else "object")
