"""Training in a dream: its environments, in place of the real ones, resumed as exactly."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.autoreset import BackendEnvs
from ...envs.backends.native import VectorBackend
from ...envs.make import make_envs
from ...envs.vector import Envs
from ...networks.tree import tree_map
from ...world_models.dream import Dream, find_starts
from ..run.build import choose_device, env_spec
from ..settings.config import RunConfig
from ..settings.usage import in_one_line


class DreamBackend(VectorBackend):
    """A dream as the backend of `Envs`; all that it is fits into a checkpoint."""

    name = "dream"

    def __init__(self, dream: Dream, seed: int):
        super().__init__(dream, seed)
        self.dream = dream
        self.exact_resume = True

    def state_dict(self) -> dict[str, Any]:
        """The dreams and what they show."""
        return {"starts": self.starts, "dream": self.dream.state_dict(), "obs": tree_map(np.array, self.obs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Dream on."""
        self.starts = state["starts"]
        self.dream.load_state_dict(state["dream"])
        self.obs = tree_map(np.array, state["obs"])


def training_envs(config: RunConfig) -> Envs:
    """Environments that a run trains in: real ones, or dreams where it names a world model.

    Raises:
        ValueError, TypeError: they cannot be made as the run wants them.
        UsageError: the world model is none, or one of another environment.
    """
    if config.dream.model is None:
        return make_envs(env_spec(config))
    from .fits import load_world_model

    fitted = load_world_model(Path(config.dream.model), choose_device(config.device))
    with closing(make_envs(replace(env_spec(config), num_envs=1))) as real:
        for what, dreamt, wanted in (
            ("observations", fitted.model.observation_space, real.observation_space),
            ("actions", fitted.model.action_space, real.action_space),
        ):
            if dreamt != wanted:
                raise ValueError(
                    f"{config.dream.model} dreams of {fitted.config.env} with {what} {in_one_line(dreamt)}, "
                    f"this run in {config.env} has {in_one_line(wanted)}"
                )
    starts = find_starts(fitted.model, fitted.episodes, config.dream)
    return BackendEnvs(DreamBackend(Dream(fitted.model, starts, config.num_envs, config.dream), config.seed))
