"""State dicts that version 0.1.0 wrote, in which some parts had other names."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn


def accept_old_key(module: nn.Module, old: str, new: str) -> None:
    """Let `module` load state dicts in which its part or parameter `new` is called `old`."""
    module.register_load_state_dict_pre_hook(partial(_rename, old=old, new=new))


def _rename(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *rest: Any, old: str, new: str
) -> None:
    for key in list(state_dict):
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and (name == old or name.startswith(f"{old}.")):
            state_dict[f"{prefix}{new}{name.removeprefix(old)}"] = state_dict.pop(key)
