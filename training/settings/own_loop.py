"""What an algorithm that brings its own training loop says about the options of a run."""

from __future__ import annotations

from typing import Any, ClassVar


class OwnLoopOptions:
    """Stands where an agent's class stands; `run/training_loop.py` says how such an algorithm is trained."""

    Config: ClassVar[type[Any]]
    """Hyper-parameters, a frozen dataclass."""
    encoder_defaults: ClassVar[dict[str, dict[str, Any]]] = {}
    """As agents have it."""
    run_defaults: ClassVar[dict[str, Any]] = {}
    """Options of the run whose defaults are others with this algorithm."""
    options_not_taken: ClassVar[frozenset[str]] = frozenset()
    """Fields of `RunConfig` that mean nothing to it; they keep their defaults and are no options."""
    networks_hint: ClassVar[str] = ""
    """Where its networks are chosen instead of by `--encoder` and `--memory`."""
