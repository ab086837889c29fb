"""Go on with a run from its last checkpoint, and say in what it goes on differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..settings.config import RunConfig, changed_config, load_config, run_config, to_dict
from ..settings.planning import check_learns, schedule_change
from ..settings.ranks import processes, this_rank
from ..settings.train_options import options_not_taken
from ..settings.typed import option_name
from ..settings.usage import UsageError, as_usage_errors, typed_command
from ..tracking.evaluations_file import repair_logged
from ..tracking.progress import say
from ..tracking.provenance import changed_versions, last_ranks, last_session, note_changed_files
from .build import choose_device, on_this_machine, set_threads
from .init_from import begin_from_other
from .listing import check_not_shared
from .loop import loop_of
from .session import Result
from .start import Train, train_in
from .storage.folder import CYCLE_FILE, absolute, check_links
from .storage.lock import locked


def resume_run(
    run_dir: Path,
    steps: int | None = None,
    schedule_steps: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    train: Train | None = None,
) -> Result:
    """Go on from the last checkpoint, bit for bit as if the run had never stopped.

    Args:
        run_dir: folder of the run.
        steps: a new total of steps.
        schedule_steps: steps over which schedules run from now on.
        device: where networks run from now on.
        threads: threads of torch from now on.
        train: in place of the loop's own.

    Raises:
        UsageError: it is no run, another process trains it, or it cannot go on.
    """
    run_dir = absolute(run_dir)
    load_config(run_dir)  # a folder that is no run is left without a lock
    check_links(run_dir)
    check_not_shared(run_dir)
    if (run_dir / CYCLE_FILE).exists():
        raise UsageError(
            f"{run_dir} trains in dreams; go on with: {typed_command('train', '--resume', run_dir)}"
        )
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
        note_differences(run_dir, kept, here)
        set_threads(here.threads)
        with changed_config(run_dir, kept, config):
            repair_logged(run_dir)
            if checkpoint is None:
                checkpoint = begin_from_other(run_dir, here)
            return train_in(run_dir, here, checkpoint, resume_step, train)


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


def note_differences(run_dir: Path, kept: RunConfig, here: RunConfig) -> None:
    """Say in what the session that begins here is not like the run's last one."""
    note_other_machine(run_dir, kept, here)
    note_changed_files(run_dir, to_dict(kept))


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
    if changed := changed_versions(run_dir):
        say(f"note: {run_dir} goes on with {', '.join(changed)}: perhaps not bit for bit as it would have")
    ranks, then = this_rank().size, last_ranks(run_dir)
    if then is not None and ranks != then:
        say(
            f"note: {run_dir} goes on where it was with {processes(ranks)}, after {processes(then)}: from here on "
            "the same but for rounding"
        )
