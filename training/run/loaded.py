"""What a run has learned, loaded to act."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from gymnasium import spaces

from ...envs.make import make_envs
from ..settings.config import RunConfig, load_config, to_dict
from ..settings.usage import as_usage_errors
from ..tracking.provenance import note_changed_files
from .build import choose_device, env_spec, on_this_machine, set_threads
from .evaluate import Actor
from .loop import loop_of


@dataclass(frozen=True)
class LoadedRun:
    """A run's agent as its last checkpoint left it, and what belongs to it."""

    config: RunConfig
    agent: Actor
    step: int
    observation_space: spaces.Space
    action_space: spaces.Space


def load_run(run_dir: Path, config: RunConfig | None = None, device: str | None = None) -> LoadedRun:
    """Load a run's agent from its last checkpoint.

    Args:
        run_dir: folder of the run.
        config: the run's config where it is known; it is read from the folder otherwise.
        device: where networks run instead of where the run asks for.

    Raises:
        UsageError: there is no such run, or it names what the user does not trust.
    """
    kept = config or load_config(run_dir)
    with as_usage_errors():
        choose_device(device or "auto")
    config = on_this_machine(kept if device is None else replace(kept, device=device), run_dir)  # type: ignore[arg-type]
    set_threads(config.threads)
    with as_usage_errors(), closing(make_envs(replace(env_spec(config), num_envs=1))) as envs:
        agent, step = loop_of(config).load(config, run_dir, envs)
        note_changed_files(run_dir, to_dict(kept))
        return LoadedRun(config, agent, step, envs.observation_space, envs.action_space)
