"""How good is what a run has learned? Full episodes with it, for `palaestra evaluate` and `palaestra watch`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...envs.make import make_envs
from ...envs.vector import Episode
from ..settings.config import load_config, to_dict
from ..settings.trust import command_for
from ..settings.usage import UsageError, as_usage_errors
from .build import evaluation_spec
from .evaluate import evaluate, play
from .loaded import load_run
from .video import check_video, film_run


def evaluate_run(
    run_dir: Path,
    episodes: int,
    seed: int | None = None,
    explore: bool = False,
    video: Path | None = None,
    video_copies: int = 1,
    gif: bool = False,
    device: str | None = None,
    max_steps: int = 0,
) -> dict[str, Any]:
    """Play full episodes with a run's agent; returns what `palaestra evaluate --json` prints."""
    run = load_run(run_dir, device=device)
    if video is not None:
        # What cannot be filmed, or kept, shows before the episodes are played.
        with as_usage_errors():
            check_video(evaluation_spec(run.config))
        video.mkdir(parents=True, exist_ok=True)
    config = replace(run.config, evaluate_max_steps=max_steps) if max_steps else run.config
    spec = evaluation_spec(config, seed)
    evaluation = evaluate(run.agent, spec, episodes, explore=explore)
    report: dict[str, Any] = {"env": run.config.env, "agent": run.config.agent, "seed": spec.seed}
    report |= evaluation.summary() | {"steps_trained": run.step}
    if video is not None:
        with as_usage_errors():
            files = film_run(run.agent, run.step, spec, video, video_copies, gif, explore)
        report |= {"video": str(files[0])} | ({"gif": str(files[1])} if gif else {})
    return report


def watch_run(
    run_dir: Path,
    episodes: int,
    seed: int | None = None,
    explore: bool = False,
    device: str | None = None,
    ended: Callable[[Episode], None] = lambda episode: None,
) -> None:
    """Play full episodes in the environment's own window, at its own speed; each is handed to `ended` as it ends.

    Raises:
        UsageError: there is no window to be had here, or the environment has none.
    """
    kept = load_config(run_dir)
    instead = command_for(to_dict(kept), "evaluate", run_dir, "--video", "videos")
    check_display(instead)
    run = load_run(run_dir, kept, device)
    spec = evaluation_spec(run.config, seed)
    # Pools and native vector environments have no windows: copies of their own kind have.
    window = replace(spec, backend="sync", render_mode="human")
    with as_usage_errors(), closing(make_envs(window)) as envs:
        if envs.observation_space != run.observation_space:
            raise UsageError(
                f"{run.config.env} shows something else in a window than what {run_dir} was trained on; film it: "
                + instead
            )
        play(run.agent, envs, [episodes], explore=explore, ended=ended, quiet=math.inf)


def check_display(instead: str) -> None:
    """Raise `UsageError` where no window can be opened, as over SSH; it says what to type instead."""
    on_x11 = sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    # A driver of SDL's that the user names may draw to anything.
    if on_x11 and "SDL_VIDEODRIVER" not in os.environ:
        raise UsageError(f"there is no display here to open a window on; film instead: {instead}")
