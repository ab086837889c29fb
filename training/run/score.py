"""How good is what a run has learned? Full episodes with it, for `palaestra evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..settings.usage import as_usage_errors
from .build import evaluation_spec
from .evaluate import evaluate
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
            files = film_run(run.agent, run.step, spec, video, video_copies, gif)
        report |= {"video": str(files[0])} | ({"gif": str(files[1])} if gif else {})
    return report
