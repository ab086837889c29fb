"""Start and resume groups: runs that differ in their seeds, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...agents.ddpg import DDPG
from ...agents.dqn import DQN
from ...agents.ppo import PPO
from ...agents.pqn import PQN
from ...agents.reinforce import REINFORCE
from ...envs.together import make_together
from ...networks.stateful import Kept
from ..run.build import (
    build_agent,
    choose_compile,
    choose_device,
    on_this_machine,
    set_threads,
    training_spec,
)
from ..run.clocks import Meter
from ..run.collect import Collector
from ..run.listing import check_not_shared, describe_run
from ..run.loop import AgentLoop, loop_of
from ..run.resuming import note_differences, resume_run
from ..run.session import Result, Session, Tracked
from ..run.signals import caught_signals
from ..run.start import checked, finish, opened_session
from ..run.storage.checkpoint import load_checkpoint
from ..run.storage.folder import (
    CYCLE_FILE,
    absolute,
    check_links,
    check_new,
    default_run_dir,
    has_config_alone,
    new_folder,
    write_errors,
)
from ..run.storage.lock import locked
from ..settings.components import find_component
from ..settings.config import CONFIG_FILE, RunConfig, changed_config, load_config, save_config, to_dict
from ..settings.planning import check_learns, check_memory, step_bytes
from ..settings.trust import command_for
from ..settings.usage import RunFailedError, UsageError
from ..tracking.evaluations_file import repair_logged
from ..tracking.progress import GroupProgress, notes_said_once, say
from ..tracking.tracker import Tracker
from ..tracking.trackers import step_to_resume
from .loop import Group
from .member import GroupClock, Member
from .resuming import check_alike, has_its_steps, starting_points, with_steps
from .sharing import share_compiled_steps
from .together import Together

TOGETHER = (PPO, PQN, REINFORCE, DQN, DDPG)


@dataclass(frozen=True)
class GroupResult:
    """How the runs of a group have ended."""

    folders: list[Path]
    results: list[Result | None]
    """None of a run that has failed, that was not begun, or that had ended before."""
    failed: list[Path]
    """Folders of runs that could not go on."""
    signal: int | None = None


def why_alone(config: RunConfig) -> str | None:
    """Why runs like this one are trained one after another; None where they are trained together."""
    if loop_of(config) is not AgentLoop:
        return f"{config.agent} has a training loop of its own"
    if find_component("agent", config.agent) not in TOGETHER:
        return f"{config.agent} is trained one run at a time"
    if config.memory != "none":
        return f"a memory ({config.memory}) acts and learns run by run"
    if config.encoder != "mlp":
        return f"encoder {config.encoder} takes so long that nothing is gained"
    if config.auxiliary != "none" or config.bonus != "none" or config.reward != "none":
        return "auxiliary losses and learned rewards are those of one run"
    if config.init_from:
        return "each run begins with another one's networks"
    if config.dream.model is not None or config.show_model_memory:
        return "world models are given one run at a time"
    if choose_device(config.device).type != "cpu":
        return "several seeds are trained together on the CPU only"
    return None


def group_folders(config: RunConfig, seeds: Sequence[int], out: Path | None) -> list[Path]:
    """Where the runs go: `OUT/seedN`, or where each would go alone."""
    if out is not None:
        return [out / f"seed{seed}" for seed in seeds]
    return [default_run_dir(replace(config, seed=seed)) for seed in seeds]


def start_group(config: RunConfig, seeds: Sequence[int], folders: Sequence[Path]) -> GroupResult:
    """Train runs of these seeds from the beginning, each into a folder that must be new or empty.

    Those that a killed start has left with the same config, and with nothing else, count as new.

    Raises:
        UsageError: the request is wrong, or something lies there already; nothing is overwritten.
    """
    left = [folder for folder in folders if has_config_alone(folder)]
    for folder in folders:
        if folder not in left:
            check_new(folder)
    check_learns(config)
    config, _, _ = checked(with_compile(config, len(seeds)))
    for seed, folder in zip(seeds, folders, strict=True):
        own = replace(config, seed=seed)
        if folder in left and to_dict(load_config(folder)) == to_dict(own):
            continue
        with new_folder(absolute(folder), folder):
            save_config(absolute(folder), own)
    return train_group(list(folders))


def with_compile(config: RunConfig, runs: int) -> RunConfig:
    """Decide `--compile auto` by the updates of all runs, where they share what is compiled."""
    planned = getattr(config.agent_config, "planned_updates", None)
    if config.compile != "auto" or planned is None or why_alone(config) is not None:
        return config
    compile = choose_compile("auto", planned(config.steps, config.num_envs) * runs)
    return replace(config, compile="on" if compile else "off")


def is_group(folder: Path) -> bool:
    """Whether a folder is no run, but holds runs of several seeds."""
    return not (folder / CONFIG_FILE).exists() and len(runs_in(folder)) > 0


def runs_in(folder: Path) -> list[Path]:
    """Folders `seedN` with runs, in the order of their seeds."""
    found = [path for path in folder.glob("seed*") if (path / CONFIG_FILE).is_file()]
    found = [path for path in found if path.name.removeprefix("seed").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("seed")))


def resume_group(
    folders: Sequence[Path], steps: int | None = None, schedule_steps: int | None = None
) -> GroupResult:
    """Go on with runs that differ in their seeds only, bit for bit as if they had never stopped.

    Raises:
        UsageError: one is no run, another process trains it, they differ in more, or cannot go on.
    """
    # Before folders are locked: one that is named twice would wait for itself.
    check_alike(folders, [load_config(folder) for folder in folders])
    for folder in folders:
        check_links(folder)
        check_not_shared(folder)
        if (folder / CYCLE_FILE).exists():
            raise UsageError(f"{folder} trains in dreams; go on with it alone")
    return train_group(list(folders), steps, schedule_steps)


def train_group(
    folders: list[Path], steps: int | None = None, schedule_steps: int | None = None
) -> GroupResult:
    """Train runs whose folders and configs are there, from their last checkpoints."""
    paths = [absolute(folder) for folder in folders]
    with ExitStack() as stack:
        for path in paths:
            stack.enter_context(locked(path))
        configs = [load_config(path) for path in paths]
        check_alike(folders, configs)
        reason = why_alone(configs[0])
        done = list(range(len(paths)))
        results: dict[int, Result] = {}
        failed: list[Path] = []
        signal = None
        if reason is None:
            kept, configs = configs, with_steps(paths, configs, steps, schedule_steps)
            for path, config, before in zip(paths, configs, kept, strict=True):
                stack.enter_context(changed_config(path, before, config))
            going = [i for i, config in enumerate(configs) if not has_its_steps(paths[i], config)]
            longer = steps is not None
            points = starting_points([paths[i] for i in going], configs[0], longer) if going else []
            if points is None:
                reason = "their checkpoints are not of one moment"
            else:
                done = [i for i in range(len(paths)) if i not in going]
            if points:
                trained, signal = _train_members(
                    [paths[i] for i in going], [configs[i] for i in going], points
                )
                results = {going[position]: result for position, result in trained.items()}
                failed = [] if signal else [folders[i] for i in going if i not in results]
    if reason is not None:
        say(f"note: {len(folders)} seeds one after another: {reason}")
    for index in done:
        # What was stopped between its last step and its evaluation comes to its end here, too.
        over = reason is not None and steps is None and describe_run(paths[index]).finished
        if signal is None and not over:
            say(f"run {index + 1} of {len(folders)}: {folders[index]}")
            more = (None, None) if reason is None else (steps, schedule_steps)
            try:
                results[index] = resume_run(folders[index], *more)
            except RunFailedError as error:
                say(f"error: {error}")
                failed.append(folders[index])
            else:
                signal = results[index].signal
    return GroupResult(folders, [results.get(index) for index in range(len(folders))], failed, signal)


def _train_members(
    paths: list[Path], configs: list[RunConfig], checkpoints: list[Path | None]
) -> tuple[dict[int, Result], int | None]:
    """Train runs side by side; returns the results of those that ended, and the signal that stopped them."""
    machine = on_this_machine(configs[0], "the group")
    here = [replace(machine, seed=config.seed) for config in configs]
    set_threads(here[0].threads)
    for path, config, on_it in zip(paths, configs, here, strict=True):
        repair_logged(path)
        note_differences(path, config, on_it)
    command = command_for(to_dict(configs[0]), "train", "--resume", *paths)
    with write_errors(f"go on with: {command}"), notes_said_once(), ExitStack() as stack:
        opened = [
            stack.enter_context(opened_session(path, config, step_to_resume(path, checkpoint)))
            for path, config, checkpoint in zip(paths, here, checkpoints, strict=True)
        ]
        seeds = [config.seed for config in here]
        envs = stack.enter_context(closing(make_together(training_spec(here[0]), seeds)))
        agents = _agents(here, envs)
        signals = stack.enter_context(caught_signals())
        members = [
            _member(config, path, agent, tracked.tracker, signals, 1 / len(here))
            for path, config, agent, tracked in zip(paths, here, agents, opened, strict=True)
        ]
        collector = _loaded(members, agents, envs, checkpoints)
        progress = GroupProgress(
            sum(config.steps for config in here), len(here), sum(member.clock.step for member in members)
        )
        results: dict[int, Result] = {}
        group = Group(
            members,
            collector.agent,  # type: ignore[arg-type]
            envs,
            collector,
            progress,
            lambda member: _finish(member, opened[members.index(member)], results, members.index(member)),
        )
        try:
            for member, checkpoint in zip(members, checkpoints, strict=True):
                if checkpoint is not None:
                    member.session.evaluate_if_missed(member.agent)
            group.learn()
        finally:
            progress.close()
        for index, (member, tracked) in enumerate(zip(members, opened, strict=True)):
            if member.error is not None:
                tracked.exit_code = 1
            elif index not in results:
                results[index] = member.result()
                tracked.exit_code = results[index].exit_code
        return results, signals[0] if signals else None


def _agents(here: list[RunConfig], envs: Any) -> list[Any]:
    """An agent for each run; they share what is compiled, and all of them have to fit into the memory."""
    agents = [build_agent(config, envs.observation_space, envs.action_space) for config in here]
    one = step_bytes(envs.observation_space, envs.action_space)
    stores = agents[0].stores(one, here[0].num_envs)
    taken = [store._replace(num_bytes=store.num_bytes * len(here)) for store in stores]
    check_memory(here[0].agent_config, taken)
    if here[0].compile == "on":
        share_compiled_steps(agents)
    return agents


def _member(
    config: RunConfig, path: Path, agent: Any, tracker: Tracker, signals: list[int], share: float
) -> Member:
    clock = GroupClock(cpu_share=share)
    session = Session(config, path, tracker, clock, signals)
    return Member(session, agent, clock, Meter(), Kept({}), tracker)


def _loaded(members: list[Member], agents: list[Any], envs: Any, checkpoints: list[Path | None]) -> Collector:
    """Put checkpoints back, and join agents and environments."""
    for member, checkpoint in zip(members, checkpoints, strict=True):
        if checkpoint is not None:
            load_checkpoint(checkpoint, member.parts())
    together = Together(agents, envs.num_envs // len(agents))
    collector = Collector(together, envs)
    if any(checkpoints):
        fresh = envs.split()
        envs.join([member.place.state.get("envs", fresh[i]) for i, member in enumerate(members)])
        collector.obs, collector.first = envs.obs, envs.first
    for member, checkpoint in zip(members, checkpoints, strict=True):
        member.begin(None if checkpoint is None else member.clock.step)
    return collector


def _finish(member: Member, tracked: Tracked, results: dict[int, Result], index: int) -> None:
    """Evaluate a run that has its steps, and leave its summary."""
    member.session.evaluate(member.agent)
    result = member.result()
    if result.signal is None:
        finish(member.session.run_dir, member.session.config, result, tracked.tracker)
        if result.signal is not None:
            # It ends the whole group.
            member.session.signals.append(result.signal)
    results[index] = result
