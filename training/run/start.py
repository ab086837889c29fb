"""Start a run in a new folder, or go on with one, and leave what it came to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...envs.machine import usable_memory
from ...envs.make import make_envs
from ..settings.config import RunConfig, load_config, run_config, save_config, to_dict
from ..settings.planning import check_learns, in_gb, schedule_change, store_option
from ..settings.train_options import options_not_taken
from ..settings.trust import command_for
from ..settings.typed import option_name
from ..settings.usage import UsageError, as_usage_errors
from ..tracking.evaluations_file import repair_evaluations
from ..tracking.plots import plot_learning_curve
from ..tracking.progress import Progress, say
from ..tracking.provenance import last_session, record_session
from ..tracking.tracker import Tracker
from ..tracking.trackers import check_tracking
from .build import choose_device, evaluation_spec, on_this_machine, resolve, set_threads, training_spec
from .checkpoint import give_identity
from .folder import CYCLE_FILE, absolute, check_links, check_new, new_folder, write_errors
from .loaded import load_run
from .lock import locked
from .loop import loop_of
from .session import Result, Tracked, tracked
from .signals import StoppedError, stopping_signals
from .training_loop import Footprint
from .video import check_video, film_run


def start_run(config: RunConfig, run_dir: Path) -> Result:
    """Train from the beginning, into a folder that must be new or empty.

    Raises:
        UsageError: the request is wrong, or something lies there already; nothing is overwritten.
    """
    folder = absolute(run_dir)
    check_new(run_dir)
    check_learns(config)
    config, here, _ = checked(config)
    with new_folder(folder, run_dir):
        save_config(folder, config)
        return train_in(folder, here, None, resume_step=None)


def plan(config: RunConfig) -> dict[str, Any]:
    """Do nothing but say what a run comes to: what is chosen for it, and what it takes of memory and disk."""
    check_learns(config)
    config, here, taken = checked(config)
    names = (
        "agent",
        "env",
        "steps",
        "num_envs",
        "backend",
        "encoder",
        "memory",
        "auxiliary",
        "device",
        "threads",
        "compile",
    )
    memory = usable_memory()
    # Two checkpoints are kept while a third is written.
    disk = 3 * taken.checkpoint
    return {name: getattr(here, name) for name in names} | {
        **{store_option(store): in_gb(store.num_bytes) for store in taken.stores},
        "networks": in_gb(taken.networks),
        "checkpoints": in_gb(disk),
        "memory here": "unknown" if memory is None else in_gb(memory),
        "disk here": in_gb(shutil.disk_usage(Path.cwd()).free),
    }


def checked(config: RunConfig) -> tuple[RunConfig, RunConfig, Footprint]:
    """Return the config that is kept, the same as it is on this machine, and what it takes; all is built once.

    Raises:
        UsageError: something is wrong with the request.
    """
    check_tracking(config.track)
    with as_usage_errors():
        config = resolve(config)
        loop = loop_of(config)
        config = loop.settle(config)
        here = on_this_machine(config)
        set_threads(here.threads)
        spec = training_spec(here)
        with closing(make_envs(spec)) as envs:
            taken = loop.check(here, envs)
            if spec.backend_maker is None:
                if config.backend == "auto":
                    say(f"note: {config.num_envs} copies of {config.env}, stepped by backend {envs.backend}")
                config = replace(config, backend=envs.backend)  # type: ignore[arg-type]
            if config.video:
                check_video(evaluation_spec(config))
    return config, replace(here, backend=config.backend), taken


def resume_run(
    run_dir: Path,
    steps: int | None = None,
    schedule_steps: int | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Result:
    """Go on from the last checkpoint, bit for bit as if the run had never stopped.

    Args:
        run_dir: folder of the run.
        steps: a new total of steps.
        schedule_steps: steps over which schedules run from now on.
        device: where networks run from now on.
        threads: threads of torch from now on.

    Raises:
        UsageError: it is no run, another process trains it, or it cannot go on.
    """
    run_dir = absolute(run_dir)
    load_config(run_dir)  # a folder that is no run is left without a lock
    check_links(run_dir)
    if (run_dir / CYCLE_FILE).exists():
        raise UsageError(f"{run_dir} trains in dreams; go on with: palaestra train --resume {run_dir}")
    with locked(run_dir):
        kept = load_config(run_dir)
        asked = with_changes(kept, schedule_steps=schedule_steps, device=device, threads=threads)
        loop = loop_of(kept)
        config, checkpoint = loop.resume(asked, run_dir, steps)
        resume_step = 0 if checkpoint is None else int(checkpoint.name)
        if config.steps != kept.steps:
            check_learns(config)
        if change := schedule_change(kept, config, resume_step):
            say(change)
        here = on_this_machine(config, run_dir)
        note_other_machine(run_dir, kept, here)
        if config != kept:
            save_config(run_dir, config)
        set_threads(here.threads)
        repair_evaluations(run_dir)
        return train_in(run_dir, here, checkpoint, resume_step)


def with_changes(config: RunConfig, **changes: Any) -> RunConfig:
    """Return a kept config with the options that were given for going on; None is none.

    Raises:
        UsageError: the run's agent takes no such option, or a value is wrong.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    for name in sorted(options_not_taken(config.agent) & given.keys()):
        raise UsageError(f"--{option_name(name)}: {config.agent} does not take it")
    # Types and ranges are checked by reading the result once more, as if it stood in a file.
    changed = run_config(to_dict(config) | given, "--")
    with as_usage_errors():
        choose_device(given.get("device", "auto"))
    return changed


def note_other_machine(run_dir: Path, kept: RunConfig, here: RunConfig) -> None:
    """Say where a run goes on differently from its last session, in what the last bits of results depend on."""
    last = {"device": kept.device, "threads": kept.threads} | last_session(run_dir)
    before, now = (last["device"], last["threads"]), (here.device, here.threads)
    # What no session has told is not known.
    if before != now and before[0] != "auto" and before[1] != 0:
        say(
            f"note: {run_dir} goes on with device {now[0]}, threads {now[1]}, after device {before[0]}, threads "
            f"{before[1]}: not bit for bit as it would have"
        )


def train_in(run_dir: Path, config: RunConfig, checkpoint: Path | None, resume_step: int | None) -> Result:
    """Train in a folder that is locked; `resume_step` is None for a new run.

    Raises:
        RunFailedError: the disk is full, or the folder is gone; what was saved before is whole.
    """
    with (
        write_errors(f"go on with: {command_for(to_dict(config), 'train', '--resume', run_dir)}"),
        _session(run_dir, config, resume_step) as opened,
    ):
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


@contextmanager
def _session(run_dir: Path, config: RunConfig, resume_step: int | None) -> Iterator[Tracked]:
    """Note a session in the run's folder, and open its tracker."""
    if not resume_step:
        give_identity(run_dir)
    record_session(run_dir, resume_step or 0, device=config.device, threads=config.threads)
    with tracked(
        run_dir,
        config.track,
        env=config.env,
        agent=config.agent,
        seed=config.seed,
        config=to_dict(config),
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
    summary = {"step": result.step, "seconds": round(result.seconds, 3), **evaluation}
    (run_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    tracker.summary(summary)
    tracker.figure(plot_learning_curve(run_dir), "learning_curve", result.step)
    for name, path in loop_of(config).learned(run_dir).items():
        tracker.artifact(path, name, "model")
    if config.video:
        run = load_run(run_dir, config)
        film = film_run(run.agent, run.step, evaluation_spec(config), run_dir / "videos")[0]
        tracker.video(film, "video", result.step)
        tracker.artifact(film, "video", "video")
