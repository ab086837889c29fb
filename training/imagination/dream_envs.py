"""Training in a dream: the backend that a run's environments have then, resumed as exactly as real ones."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.backends.native import VectorBackend
from ...envs.make import EnvSpec, make_envs
from ...networks.tree import tree_map
from ...world_models.dream import Dream, find_starts
from ..run.build import choose_device, env_spec
from ..settings.config import RunConfig
from .fits import load_world_model


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

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Dream on."""
        self.starts = state["starts"]
        self.dream.load_state_dict(state["dream"])
        self.obs = tree_map(np.array, state["obs"])
        return True


def make_dream_backend(config: RunConfig, spec: EnvSpec) -> DreamBackend:
    """Make the dreams, in `spec.num_envs` copies, of the world model that a run's config names.

    Raises:
        ValueError, TypeError: the real environment cannot be made as the run wants it, or is not the one dreamt of.
        UsageError: the folder holds no world model that was fitted to the end.
    """
    options = config.env_options
    for name, given in {"clip-reward": options.clip_reward, "wrappers": bool(options.wrappers)}.items():
        if given:
            raise ValueError(f"--env.{name}: dreams are of the environment without it; leave it out")
    fitted = load_world_model(Path(str(config.dream.model)), choose_device(config.device))
    with closing(make_envs(replace(env_spec(config), num_envs=1))) as real:
        if difference := fitted.difference(real.observation_space, real.action_space):
            raise ValueError(
                f"{config.dream.model} dreams of {fitted.config.env} with {difference} as this run in {config.env}"
            )
    starts = find_starts(fitted.model, fitted.episodes, config.dream)
    return DreamBackend(Dream(fitted.model, starts, spec.num_envs, config.dream), spec.seed)
