"""Start a run in a new folder, or go on with one, and leave what it came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...agents.agent import Agent
from ...agents.transfer import Taken, take_parts
from ...envs.make import make_envs
from ...envs.outside import short_name
from ...envs.vector import Envs
from ..settings.config import (
    CONFIG_FILE,
    RunConfig,
    changed_config,
    load_config,
    run_config,
    save_config,
    to_dict,
)
from ..settings.planning import check_learns, check_teacher, schedule_change
from ..settings.ranks import processes, this_rank
from ..settings.resources import Footprint, config_names, family_memory, run_resources
from ..settings.train_options import options_not_taken
from ..settings.trust import code_files, command_for
from ..settings.typed import option_name
from ..settings.usage import UsageError, as_usage_errors, typed_command
from ..tracking.evaluations_file import repair_evaluations, write_json
from ..tracking.plots import plot_learning_curve
from ..tracking.progress import Progress, say
from ..tracking.provenance import last_files, last_ranks, last_session, record_session
from ..tracking.tracker import Tracker
from ..tracking.trackers import check_tracking
from .build import (
    build_agent,
    choose_device,
    evaluation_spec,
    on_this_machine,
    resolve,
    set_threads,
    training_spec,
)
from .checkpoint import give_identity, save_checkpoint
from .clocks import Clock, Meter
from .evaluate import MAX_COPIES
from .folder import CYCLE_FILE, MODEL_CONFIG_FILE, absolute, check_links, check_new, new_folder, write_errors
from .listing import SUMMARY_FILE, check_not_shared
from .loaded import load_run
from .lock import locked
from .loop import AgentLoop, loop_of, make_steps
from .session import Result, Tracked, tracked
from .signals import StoppedError, stopping_signals
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
    copies = min(config.evaluate_episodes, MAX_COPIES)
    return run_resources(
        taken,
        steps=config.steps,
        rows=config.steps // config.log_every + config.steps // config.evaluate_every,
        program=family_memory() - taken.environments,
        # Worker processes are as many for all copies.
        evaluation=1 if config.backend == "async" else copies / config.num_envs,
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


def initialized(config: RunConfig, envs: Envs) -> tuple[Agent, Taken]:
    """Return the new agent of a run with --init-from, with the parts that were taken, and which these are.

    Raises:
        UsageError: the other folder is no run of an agent of ours, it names what the user does not trust, or nothing of
            it fits.
    """
    other = Path(config.init_from)
    if not (other / CONFIG_FILE).exists() and (other / MODEL_CONFIG_FILE).exists():
        raise UsageError(f"--init-from {other}: it is a world model; use --encoder world-model:{other}")
    kept = load_config(other)
    if loop_of(kept) is not AgentLoop:
        raise UsageError(
            f"--init-from {other}: the networks of {kept.agent} are not built like ours, so nothing of them fits; "
            f"clone it instead: {typed_command('record', other, '--episodes', 20, '--out', 'DIR')}"
        )
    source = load_run(other, device=choose_device(config.device).type)
    set_threads(config.threads)
    agent = build_agent(config, envs.observation_space, envs.action_space)
    assert isinstance(source.agent, Agent)
    taken = take_parts(agent.parts(), source.agent.parts())
    if not taken.taken:
        # Of what stands on a torso that does not fit nothing need be said.
        reasons = "; ".join(f"{name}: {why}" for name, why in taken.refused.items() if "torso." in name)
        raise UsageError(f"--init-from {other}: nothing of {kept.agent} on {kept.env} fits ({reasons})")
    return agent, taken


def describe_taken(config: RunConfig, taken: Taken) -> str:
    """A line for each part that a run takes from another one, and for each that it does not."""
    lines = [f"note: from {config.init_from}:"]
    for name, origin in taken.taken.items():
        lines.append(f"  taken      {name}" + (f" from {origin}" if origin != name else ""))
    return "\n".join([*lines, *(f"  not taken  {name}: {why}" for name, why in taken.refused.items())])


def begin_from_other(run_dir: Path, config: RunConfig) -> Path | None:
    """Leave the checkpoint of step 0 that a run with --init-from begins from; it needs the other no more."""
    if not config.init_from:
        return None
    with as_usage_errors(), closing(make_envs(training_spec(config))) as envs:
        agent, _ = initialized(config, envs)
        give_identity(run_dir)
        return save_checkpoint(run_dir, 0, make_steps(config, agent, envs, Meter(), Clock())[1])


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
            repair_evaluations(run_dir)
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
    note_changed_files(run_dir, kept)


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
    ranks, then = this_rank().size, last_ranks(run_dir)
    if then is not None and ranks != then:
        say(
            f"note: {run_dir} goes on where it was with {processes(ranks)}, after {processes(then)}: from here on "
            "the same but for rounding"
        )


def note_changed_files(run_dir: Path, kept: RunConfig) -> None:
    """Say which of the files that hold a run's own code are not what they were in its last session."""
    before, now = last_files(run_dir), code_files(to_dict(kept))
    for path in sorted(path for path in now if before.get(path, now[path]) != now[path]):
        say(f"note: {path} has changed since the last session: {run_dir} goes on with what it holds now")


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
def opened_session(run_dir: Path, config: RunConfig, resume_step: int | None) -> Iterator[Tracked]:
    """Note a session in the run's folder, and open its tracker."""
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
