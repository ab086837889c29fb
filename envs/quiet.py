"""Libraries that write where nobody asked them to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gymnasium.envs import registration


def quieten_mujoco(entry_point: Callable[..., Any] | str | None) -> None:
    """Keep MuJoCo's warnings off the terminal, and out of a `MUJOCO_LOG.TXT` in the folder where one works.

    A simulation that has become unstable shows in what it returns, which is checked. Whoever has a handler for these
    warnings keeps it.

    Args:
        entry_point: of the environment that will be made; loading it imports MuJoCo, if it is one of MuJoCo's.
    """
    if isinstance(entry_point, str):
        with suppress(Exception):  # whatever it is, it is reported where the environment is made
            registration.load_env_creator(entry_point)
    mujoco = sys.modules.get("mujoco")
    # What an import that failed has left may lack everything.
    if getattr(mujoco, "get_mju_user_warning", lambda: ignore)() is None:
        mujoco.set_mju_user_warning(ignore)  # type: ignore[union-attr]


def ignore(message: str) -> None:
    """Drop a warning."""
