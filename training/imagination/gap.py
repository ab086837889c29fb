"""What an agent gets in a dream against what it really gets: a dream's score alone says nothing."""

from __future__ import annotations

from collections.abc import Mapping
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
from ..settings.train_options import assignment_words
from ..settings.usage import UsageError
from .dream_envs import DreamBackend
from .fits import load_world_model

# Those of Ha & Schmidhuber's table 2 that bracket the plain model. Low ones are easy to exploit.
TEMPERATURES = (0.1, 0.5, 1.0, 1.15, 1.3)
# For environments without a time limit of their own.
HORIZON = 1000


def dream_horizon(env: str, env_kwargs: Mapping[str, Any]) -> int:
    """Steps that an environment lets an episode last; -1, Gymnasium's word for no limit, is a limit of ours."""
    limit = env_kwargs.get("max_episode_steps")
    if limit is None:
        limit = find_environment(env).max_episode_steps
    return HORIZON if limit is None or limit < 0 else limit


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
    if difference := fitted.difference(run.observation_space, run.action_space):
        raise UsageError(f"{model_dir} was fitted to {difference} as {run_dir}")
    if run.config.env_kwargs != fitted.config.env_kwargs:
        acted, dreamt_of = (" ".join(assignment_words(x.config.env_kwargs)) or "none" for x in (run, fitted))
        raise UsageError(f"{run_dir} has --env-kwargs {acted}, {model_dir} has {dreamt_of}")
    spec = evaluation_spec(run.config)
    real = evaluate(run.agent, spec, episodes)
    horizon = dream_horizon(fitted.config.env, fitted.config.env_kwargs)
    config = DreamConfig(horizon=horizon, start="initial", burn_in=0)
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
