"""Demonstrations of any run: whole episodes that its agent plays, as its environment gives them."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec as RegisteredSpec

from ...envs.actions import ActionError, action_clipper
from ...envs.make import EnvSpec, make_envs
from ...envs.registry import find_environment
from ...world_models.datasets import EpisodeDataset, EpisodeRecorder, RecordedEpisode
from ..run.build import evaluation_spec
from ..run.collect import Collector
from ..run.evaluate import QUIET_SECONDS, Actor, copies_of, quotas
from ..run.loaded import LoadedRun, load_run
from ..run.storage.folder import absolute, check_new, new_folder
from ..settings.config import RunConfig
from ..settings.seeds import DEMONSTRATION_SEED
from ..settings.usage import RunFailedError, in_one_line
from ..tracking.progress import say
from .minari_datasets import check_new_name, with_arguments, write_minari
from .storage import save_demonstrations


def record_run(
    run_dir: Path,
    episodes: int,
    out: Path,
    *,
    seed: int | None = None,
    explore: bool = False,
    minari: str | None = None,
    device: str | None = None,
    max_steps: int = 0,
) -> dict[str, Any]:
    """Play full episodes with a run's agent and keep them in `out`, which must be new or empty.

    Returns:
        What `palaestra record --json` prints.

    Raises:
        UsageError: the request is wrong; nothing was written.
    """
    folder = absolute(out)
    check_new(out)
    if minari is not None:
        check_new_name(minari)
    run = load_run(run_dir, device=device)
    config = replace(run.config, evaluate_max_steps=max_steps) if max_steps else run.config
    spec = evaluation_spec(config, DEMONSTRATION_SEED + config.seed if seed is None else seed)
    with new_folder(folder, out):
        played, cut = record_episodes(run.agent, spec, episodes, explore)
        if cut:
            say(f"note: {cut} of {episodes} episodes were cut off after {spec.max_steps:,} steps")
        report = describe_demonstrations(run, played, spec.seed, explore)
        save_demonstrations(folder, played, {"run": str(run_dir), **report, **spaces_of(run)})
        if minari is not None:
            env_spec = plain_spec(config, run.observation_space)
            text = f"{episodes} episodes of {config.agent} on {config.env}, recorded by Palaestra"
            write_minari(
                minari,
                played,
                run.observation_space,
                run.action_space,
                env_spec=env_spec,
                agent=config.agent,
                description=text,
            )
    return report | {"out": str(out)} | ({"minari": minari} if minari else {})


def describe_demonstrations(
    run: LoadedRun, episodes: EpisodeDataset, seed: int, explore: bool
) -> dict[str, Any]:
    """Where demonstrations are from, and how good."""
    returns = np.array([float(episode.reward.sum(dtype=np.float64)) for episode in episodes.episodes])
    return {
        "env": run.config.env,
        "agent": run.config.agent,
        "steps_trained": run.step,
        "seed": seed,
        "explore": explore,
        "episodes": len(episodes),
        "steps": episodes.num_steps,
        "return_mean": float(returns.mean()),
        "return_min": float(returns.min()),
        "return_max": float(returns.max()),
    }


def spaces_of(run: LoadedRun) -> dict[str, str]:
    """The spaces of observations and actions, as text for readers."""
    return {
        "observation_space": in_one_line(run.observation_space),
        "action_space": in_one_line(run.action_space),
    }


def plain_spec(config: RunConfig, observation_space: spaces.Space) -> RegisteredSpec | None:
    """How Gymnasium alone makes the environment, or None where it would have other observations.

    None also where a spec cannot be written down, since the environment is made by a function.
    """
    if (
        config.env_options.wrappers
        or config.frame_stack > 1
        or config.show_previous
        or config.show_model_memory
    ):
        return None
    found = with_arguments(find_environment(config.env), dict(config.env_kwargs))
    try:
        found.to_json()
    except (ValueError, TypeError):
        return None
    plain = EnvSpec(config.env, 1, seed=0, kwargs=dict(config.env_kwargs), backend="sync")
    with closing(make_envs(plain)) as envs:
        return found if envs.observation_space == observation_space else None


def record_episodes(actor: Actor, spec: EnvSpec, episodes: int, explore: bool) -> tuple[EpisodeDataset, int]:
    """Play whole episodes; actions are kept as the environment executes them, within their bounds.

    Each copy plays a number fixed beforehand, as in an evaluation, and the first ones of all copies come before the
    second ones: in the order in which they end, the first few would be the short ones.

    Returns:
        The episodes, and how many were cut off because they had become too long.

    Raises:
        RunFailedError: the agent chose what is no action.
    """
    copies = copies_of(spec, episodes)
    quota = quotas(episodes, copies)
    played: list[list[RecordedEpisode]] = [[] for _ in quota]
    cut = 0
    started, quiet = time.perf_counter(), QUIET_SECONDS
    with closing(make_envs(replace(spec, num_envs=copies))) as envs:
        clip = action_clipper(envs.action_space, copies)
        collector, recorder = Collector(actor, envs, explore), EpisodeRecorder(copies)
        while any(len(done) < wanted for done, wanted in zip(played, quota, strict=True)):
            try:
                step, over = collector.step()
            except ActionError as error:
                raise RunFailedError(f"the agent chose {error}") from error
            ends = (step.terminated, step.truncated, step.next_obs, step.valid, step.first)
            ended = recorder.add(step.obs, clip(step.action), step.reward, *ends)
            done = step.done if step.valid is None else step.done & step.valid
            # Not those that a failing copy has broken off.
            finished = {each.env_index: each.cut for each in over}
            for index, episode in zip(np.flatnonzero(done).tolist(), ended, strict=True):
                if index in finished and len(played[index]) < quota[index]:
                    played[index].append(episode)
                    cut += finished[index]
            if time.perf_counter() - started > quiet:
                quiet *= 2
                say(f"recording: {sum(map(len, played))} of {episodes} episodes ended")
    rounds = range(max(quota))
    return EpisodeDataset([done[k] for k in rounds for done in played if k < len(done)]), cut
