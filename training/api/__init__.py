"""Imported as `palaestra`: what other programs use of a trained agent, loaded when it is asked for."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .training.baselines.vec_env import as_vec_env
    from .training.export.export import export
    from .training.imagination.fits import load_world_model
    from .training.run.policy import load_policy

__version__ = version("palaestra")
__all__ = ["__version__", "as_vec_env", "export", "load_policy", "load_world_model"]

# Where each public name is defined: `import palaestra` alone imports no torch.
_HOMES = {
    "as_vec_env": ".training.baselines.vec_env",
    "export": ".training.export.export",
    "load_policy": ".training.run.policy",
    "load_world_model": ".training.imagination.fits",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'palaestra' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    """Public names."""
    return sorted(__all__)
