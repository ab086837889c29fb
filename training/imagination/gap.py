"""What an agent gets in a dream against what it really gets: a dream's score alone says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.autoreset import BackendEnvs
from ...envs.registry import find_environment
from ...world_models.dream import Dream, DreamConfig, find_starts
from ..run.build import evaluation_spec
from ..run.evaluate import MAX_COPIES, evaluate, play, quotas
from ..run.loaded import load_run
from ..settings.usage import UsageError
from .dream_envs import DreamBackend
from .fits import load_world_model

# Those of Ha & Schmidhuber's table 2 that bracket the plain model. Low ones are easy to exploit.
TEMPERATURES = (0.1, 0.5, 1.0, 1.15, 1.3)
# For environments without a time limit of their own.
HORIZON = 1000


def dream_to_real(model_dir: Path, run_dir: Path, episodes: int) -> dict[str, Any]:
    """Mean returns of a run's agent, best actions: really, and in dreams at several temperatures.

    Dreams begin where real episodes did and last as long as the environment's time limit.

    Raises:
        UsageError: agent and world model belong to different environments.
    """
    fitted, run = load_world_model(model_dir), load_run(run_dir)
    if run.config.env != fitted.config.env:
        raise UsageError(
            f"{run_dir} is a run in {run.config.env}, {model_dir} a world model of {fitted.config.env}"
        )
    spec = evaluation_spec(run.config)
    real = evaluate(run.agent, spec, episodes)
    registered = find_environment(fitted.config.env)
    limit = fitted.config.env_kwargs.get("max_episode_steps") or registered.max_episode_steps
    config = DreamConfig(horizon=limit or HORIZON, start="initial", burn_in=0)
    starts = find_starts(fitted.model, fitted.episodes, config)
    copies = min(episodes, MAX_COPIES)
    dreamt: dict[str, float] = {}
    for temperature in TEMPERATURES:
        dream = Dream(fitted.model, starts, copies, replace(config, temperature=temperature))
        played = play(
            run.agent, BackendEnvs(DreamBackend(dream, spec.seed)), quotas(episodes, copies), explore=False
        )
        dreamt[str(temperature)] = float(np.mean([e.episode_return for copy in played for e in copy]))
    return {
        "real_return": real.summary()["return_mean"],
        "real_return_std": real.summary()["return_std"],
        "dream_return": dreamt,
    }
