"""Imported as `palaestra`: train, load, evaluate and compare runs from Python; each name is loaded when it is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparing import Comparison, compare
    from .envs.backends.failure import EnvironmentFailedError
    from .loading import export, load_policy, load_world_model
    from .run_object import Run
    from .starting import load, make_envs, train
    from .table import Table
    from .training.baselines.vec_env import as_vec_env
    from .training.run.policy import LoadedPolicy
    from .training.settings.usage import RunFailedError, UsageError
    from .within import RunInterrupted

    __version__: str

# Where each public name is defined: `import palaestra` alone imports no torch.
_HOMES = {
    "Comparison": ".comparing",
    "EnvironmentFailedError": ".envs.backends.failure",
    "LoadedPolicy": ".training.run.policy",
    "Run": ".run_object",
    "RunFailedError": ".training.settings.usage",
    "RunInterrupted": ".within",
    "Table": ".table",
    "UsageError": ".training.settings.usage",
    "as_vec_env": ".training.baselines.vec_env",
    "compare": ".comparing",
    "export": ".loading",
    "load": ".starting",
    "load_policy": ".loading",
    "load_world_model": ".loading",
    "make_envs": ".starting",
    "train": ".starting",
}
__all__ = [
    "Comparison",
    "EnvironmentFailedError",
    "LoadedPolicy",
    "Run",
    "RunFailedError",
    "RunInterrupted",
    "Table",
    "UsageError",
    "__version__",
    "as_vec_env",
    "compare",
    "export",
    "load",
    "load_policy",
    "load_world_model",
    "make_envs",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name == "__version__":
        from importlib.metadata import version  # takes longer than all the rest

        return version("palaestra")
    if name not in _HOMES:
        raise AttributeError(f"module 'palaestra' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    """Public names."""
    return sorted(__all__)
