"""Start a run in a new folder, train in it, and leave what it came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...envs.make import make_envs
from ...envs.outside import short_name
from ..settings.config import (
    RunConfig,
    save_config,
    to_dict,
)
from ..settings.planning import check_learns, check_teacher
from ..settings.resources import Footprint, config_names, family_memory, run_resources
from ..settings.trust import command_for
from ..settings.usage import as_usage_errors
from ..tracking.code_files import code_files
from ..tracking.evaluations_file import write_json
from ..tracking.plots import plot_learning_curve
from ..tracking.progress import Progress, say
from ..tracking.provenance import record_session
from ..tracking.tracker import Tracker
from ..tracking.trackers import check_tracking
from .build import (
    evaluation_spec,
    on_this_machine,
    resolve,
    set_threads,
    training_spec,
)
from .evaluate import copies_of
from .init_from import begin_from_other, describe_taken, initialized
from .listing import SUMMARY_FILE
from .loaded import load_run
from .loop import loop_of
from .session import Result, Tracked, tracked
from .signals import StoppedError, stopping_signals
from .storage.checkpoint import give_identity
from .storage.folder import absolute, check_new, new_folder, write_errors
from .video import check_video, film_run

# What trains a run, as `TrainingLoop.train` does.
Train = Callable[[RunConfig, Path, Tracker, Progress, Path | None], Result]


def start_run(config: RunConfig, run_dir: Path, train: Train | None = None) -> Result:
    """Train from the beginning, into a folder that must be new or empty; `train` in place of the loop's own.

    Raises:
        UsageError: the request is wrong, or something lies there already; nothing is overwritten.
    """
    folder = absolute(run_dir)
    check_new(run_dir)
    check_learns(config)
    config, here, _ = checked(config)
    with new_folder(folder, run_dir):
        save_config(folder, config)
        return train_in(folder, here, begin_from_other(folder, here), resume_step=None, train=train)


def plan(config: RunConfig) -> dict[str, Any]:
    """Do nothing but say what a run comes to: what is chosen for it, and what it takes of memory and disk."""
    check_learns(config)
    config, here, taken = checked(config)
    return config_names(here) | resources_of(here, taken)


def resources_of(config: RunConfig, taken: Footprint) -> dict[str, str]:
    """What a run, as it is on this machine, takes of memory and disk."""
    copies = copies_of(evaluation_spec(config), config.evaluate_episodes)
    shared = config.backend == "async" and not config.env_options.one_per_process
    return run_resources(
        taken,
        steps=config.steps,
        rows=config.steps // config.log_every + config.steps // config.evaluate_every,
        # Workers have ended and given theirs back; what was made in this process has not.
        program=family_memory() - (0 if config.backend == "async" else taken.environments),
        # Worker processes that share the copies are as many for all of them.
        evaluation=1 if shared else copies / config.num_envs,
        compiled=config.compile == "on" and config.device == "cpu",
    )


def checked(config: RunConfig) -> tuple[RunConfig, RunConfig, Footprint]:
    """Return the config that is kept, the same as it is on this machine, and what it takes; all is built once.

    Raises:
        UsageError: something is wrong with the request.
    """
    check_tracking(config.track)
    check_teacher(config)
    with as_usage_errors():
        config = resolve(config)
        loop = loop_of(config)
        config = loop.settle(config)
        here = on_this_machine(config)
        set_threads(here.threads)
        spec, before = training_spec(here), family_memory()
        with closing(make_envs(spec)) as envs:
            made = max(0, family_memory() - before)
            taken = loop.check(here, envs)._replace(environments=made)
            if config.init_from:
                say(describe_taken(config, initialized(here, envs)[1]))
            if spec.backend_maker is None:
                if config.backend == "auto" and not config.data:
                    say(f"note: {config.num_envs} copies of {config.env}, stepped by backend {envs.backend}")
                config = replace(config, backend=envs.backend)  # type: ignore[arg-type]
            if config.video:
                check_video(evaluation_spec(config))
    return config, replace(here, backend=config.backend), taken


def train_in(
    run_dir: Path,
    config: RunConfig,
    checkpoint: Path | None,
    resume_step: int | None,
    train: Train | None = None,
) -> Result:
    """Train in a folder that is locked; `resume_step` is None for a new run.

    Raises:
        RunFailedError: the disk is full, or the folder is gone; what was saved before is whole.
    """
    with (
        write_errors(f"go on with: {command_for(to_dict(config), 'train', '--resume', run_dir)}"),
        opened_session(run_dir, config, resume_step) as opened,
    ):
        # After the tracker: W&B may take seconds to start, which are not training.
        progress = Progress(config.steps, start_step=resume_step or 0)
        try:
            result = (train or loop_of(config).train)(config, run_dir, opened.tracker, progress, checkpoint)
            opened.exit_code = result.exit_code
            if result.signal is None:
                finish(run_dir, config, result, opened.tracker)
                opened.exit_code = result.exit_code
        finally:
            progress.close()
    return result


@contextmanager
def opened_session(
    run_dir: Path, config: RunConfig, resume_step: int | None, more: Mapping[str, Any] | None = None
) -> Iterator[Tracked]:
    """Note a session in the run's folder, and open its tracker, which is told the config and `more`."""
    if not resume_step:
        give_identity(run_dir)
    files = code_files(to_dict(config))
    record_session(run_dir, resume_step or 0, device=config.device, threads=config.threads, files=files)
    with tracked(
        run_dir,
        config.track,
        env=short_name(config.env),
        agent=short_name(config.agent),
        seed=config.seed,
        config=to_dict(config) | dict(more or {}),
        resume_step=resume_step,
    ) as opened:
        yield opened


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
    spent = {"seconds": round(result.seconds, 3)}
    if result.cpu_seconds is not None:
        spent["cpu_seconds"] = round(result.cpu_seconds, 3)
    summary = {"step": result.step, **spent, **evaluation}
    write_json(run_dir / SUMMARY_FILE, summary)
    loop = loop_of(config)
    loop.tidy(run_dir)
    tracker.summary(summary)
    tracker.figure(plot_learning_curve(run_dir), "learning_curve", result.step)
    for name, path in loop.learned(run_dir).items():
        tracker.artifact(path, name, "model")
    if config.video:
        run = load_run(run_dir, config)
        film = film_run(run.agent, run.step, evaluation_spec(config), run_dir / "videos")[0]
        tracker.video(film, "video", result.step)
        tracker.artifact(film, "video", "video")
