"""What torch holds for the whole program, and environments that use torch themselves may change."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class KeepTorchSettings:
    """Within `with`, whether gradients are kept and the type of new numbers may change; afterwards they are as before.

    A class and not a generator, because it is entered in every step.
    """

    def __enter__(self) -> None:
        torch = sys.modules.get("torch")
        self._held = None if torch is None else (torch.is_grad_enabled(), torch.get_default_dtype())

    def __exit__(self, *_: Any) -> None:
        # Worker processes do without torch. Where nobody has imported it, nobody has changed it.
        torch = sys.modules.get("torch")
        if torch is None:
            return
        grad_enabled, dtype = self._held or (True, torch.float32)
        if torch.is_grad_enabled() is not grad_enabled:
            torch.set_grad_enabled(grad_enabled)
        if torch.get_default_dtype() is not dtype:
            torch.set_default_dtype(dtype)


def keeps_torch_settings(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function that imports or makes environments."""

    @functools.wraps(function)
    def kept(*args: P.args, **kwargs: P.kwargs) -> R:
        with KeepTorchSettings():
            return function(*args, **kwargs)

    return kept
