"""Stable-Baselines3's checker of environments."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any


def env_checkers() -> dict[str, Callable[[Any], None]]:
    """Stable-Baselines3's checker of environments by name, if it is installed."""
    if importlib.util.find_spec("stable_baselines3") is None:
        return {}

    def check(env: Any) -> None:
        from stable_baselines3.common.env_checker import check_env

        check_env(env)

    return {"Stable-Baselines3's checker": check}
