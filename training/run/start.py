"""Start a run in a new folder, or go on with one, and leave what it came to."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ...envs.make import make_envs
from ..settings.config import RunConfig, load_config, save_config, to_dict
from ..settings.usage import UsageError, as_usage_errors
from ..tracking.plots import plot_learning_curve
from ..tracking.progress import Progress, say
from ..tracking.provenance import record_session
from ..tracking.tracker import Tracker
from ..tracking.trackers import check_tracking
from .build import evaluation_spec, resolve, set_threads, training_spec
from .folder import CYCLE_FILE, check_new, new_folder
from .loaded import load_run
from .lock import locked
from .loop import loop_of
from .session import Result, tracked
from .signals import StoppedError, stopping_signals
from .video import check_video, film_run


def start_run(config: RunConfig, run_dir: Path) -> Result:
    """Train from the beginning, into a folder that must be new or empty.

    Raises:
        UsageError: the request is wrong, or something lies there already; nothing is overwritten.
    """
    check_new(run_dir)
    config = checked(config)
    with new_folder(run_dir):
        save_config(run_dir, config)
        return train_in(run_dir, config, None, resume_step=None)


def checked(config: RunConfig) -> RunConfig:
    """Return the config that is kept, every `auto` resolved, after building everything once.

    Raises:
        UsageError: something is wrong with the request.
    """
    check_tracking(config.track)
    with as_usage_errors():
        config = resolve(config)
        set_threads(config.threads)
        loop = loop_of(config)
        config = loop.settle(config)
        spec = training_spec(config)
        with closing(make_envs(spec)) as envs:
            loop.check(config, envs)
            if spec.backend_maker is None:
                if config.backend == "auto":
                    say(f"note: {config.num_envs} copies of {config.env}, stepped by backend {envs.backend}")
                config = replace(config, backend=envs.backend)  # type: ignore[arg-type]
            if config.video:
                check_video(evaluation_spec(config))
    return config


def resume_run(run_dir: Path, steps: int | None = None) -> Result:
    """Go on from the last checkpoint, bit for bit as if the run had never stopped; `steps` sets a new total.

    Raises:
        UsageError: it is no run, another process trains it, or it cannot go on.
    """
    load_config(run_dir)  # a folder that is no run is left without a lock
    if (run_dir / CYCLE_FILE).exists():
        raise UsageError(f"{run_dir} trains in dreams; go on with: palaestra train --resume {run_dir}")
    with locked(run_dir):
        kept = load_config(run_dir)
        config, checkpoint = loop_of(kept).resume(kept, run_dir, steps)
        if config != kept:
            save_config(run_dir, config)
        set_threads(config.threads)
        resume_step = 0 if checkpoint is None else int(checkpoint.name)
        return train_in(run_dir, config, checkpoint, resume_step)


def train_in(run_dir: Path, config: RunConfig, checkpoint: Path | None, resume_step: int | None) -> Result:
    """Train in a folder that is locked; `resume_step` is None for a new run."""
    record_session(run_dir, resume_step or 0)
    with tracked(
        run_dir,
        config.track,
        env=config.env,
        agent=config.agent,
        seed=config.seed,
        config=to_dict(config),
        resume_step=resume_step,
    ) as opened:
        # After the tracker: W&B may take seconds to start, which are not training.
        progress = Progress(config.steps, start_step=resume_step or 0)
        try:
            result = loop_of(config).train(config, run_dir, opened.tracker, progress, checkpoint)
            opened.exit_code = result.exit_code
            if result.signal is None:
                finish(run_dir, config, result, opened.tracker)
                opened.exit_code = result.exit_code
        finally:
            progress.close()
    return result


def finish(run_dir: Path, config: RunConfig, result: Result, tracker: Tracker) -> None:
    """Leave a finished run's summary, learning curve and film, and give them and what was learned to the tracker.

    A signal ends this early, and is noted in `result`.
    """
    try:
        with stopping_signals():
            leave(run_dir, config, result, tracker)
    except StoppedError as stop:
        result.signal = stop.number


def leave(run_dir: Path, config: RunConfig, result: Result, tracker: Tracker) -> None:
    """What `finish` does."""
    evaluation = result.evaluation.summary() if result.evaluation else {}
    summary = {"step": result.step, "seconds": round(result.seconds, 3), **evaluation}
    (run_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    tracker.summary(summary)
    tracker.figure(plot_learning_curve(run_dir), "learning_curve", result.step)
    for name, path in loop_of(config).learned(run_dir).items():
        tracker.artifact(path, name, "model")
    if config.video:
        run = load_run(run_dir)
        film = film_run(run.agent, run.step, evaluation_spec(config), run_dir / "videos")[0]
        tracker.video(film, "video", result.step)
        tracker.artifact(film, "video", "video")
