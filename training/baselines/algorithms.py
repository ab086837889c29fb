"""Stable-Baselines3's algorithms as agents: `sb3/ppo` and its kin, found by name."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
import sys
from functools import cache
from typing import Any, ClassVar

from ..settings.usage import UsageError, nearest
from .config import config_class

PREFIX = "sb3/"


class Baseline:
    """What an agent's name stands for when it is one of Stable-Baselines3's algorithms."""

    algorithm: ClassVar[type[Any]]
    Config: ClassVar[type[Any]]
    encoder_defaults: ClassVar[dict[str, dict[str, Any]]] = {}
    run_defaults: ClassVar[dict[str, Any]] = {}
    """Where an algorithm's own defaults ask for other ones of the run."""

    def __init__(self, *arguments: Any, **options: Any):
        raise TypeError(
            f"{self.algorithm.__name__} of Stable-Baselines3 has a loop of its own and cannot alternate between real "
            "and dreamt steps; it can be trained in a finished dream: palaestra world-model dream DIR --agent ..."
        )


def is_baseline(agent: type[Any]) -> bool:
    """Whether a component is one of Stable-Baselines3's algorithms."""
    return issubclass(agent, Baseline)


def baseline_names() -> list[str]:
    """Names such as `sb3/ppo`; none where Stable-Baselines3 is not installed."""
    return sorted(_algorithms()) if importlib.util.find_spec("stable_baselines3") else []


def find_baseline(name: str) -> type[Baseline]:
    """Return the baseline called `sb3/NAME`.

    Raises:
        UsageError: there is none, or Stable-Baselines3 is not installed.
    """
    if importlib.util.find_spec("stable_baselines3") is None:
        raise UsageError(f"{name} needs Stable-Baselines3; run: pip install 'palaestra[baselines]'")
    algorithms = _algorithms()
    if name not in algorithms:
        contrib = importlib.util.find_spec("sb3_contrib") is not None
        hint = "" if contrib else " (sb3-contrib, which has more, is not installed)"
        raise UsageError(f"unknown baseline {name!r}; {nearest(name, algorithms)}{hint}")
    return as_baseline(algorithms[name])


def _algorithms() -> dict[str, Any]:
    import stable_baselines3

    libraries = [stable_baselines3]
    if importlib.util.find_spec("sb3_contrib") is not None:
        import sb3_contrib

        libraries.append(sb3_contrib)
    classes = [getattr(library, name) for library in libraries for name in library.__all__]
    # RecurrentPPO is sb3/recurrent_ppo.
    return {
        PREFIX + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", each.__name__).lower(): each
        for each in classes
        if is_algorithm(each)
    }


def is_algorithm(value: Any) -> bool:
    """Whether something is a class of the kind of Stable-Baselines3's algorithms, its own or another library's."""
    # Whoever subclasses it has imported it.
    if "stable_baselines3" not in sys.modules or not inspect.isclass(value):
        return False
    from stable_baselines3.common.base_class import BaseAlgorithm

    return issubclass(value, BaseAlgorithm) and not inspect.isabstract(value)


@cache  # one class an algorithm, and one of its options
def as_baseline(algorithm: Any) -> type[Baseline]:
    """Return the component that stands for an algorithm."""
    config = config_class(algorithm)
    members = {"algorithm": algorithm, "Config": config, "__doc__": algorithm.__doc__}
    # Off-policy ones learn once every so many vector steps: with more copies, less.
    if "train_freq" in {item.name for item in dataclasses.fields(config)}:
        members["run_defaults"] = {"num_envs": 1}
    return type(algorithm.__name__, (Baseline,), members)
