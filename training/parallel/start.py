"""Start one run in many processes, or go on with one: rank 0 does what one process does, the others follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..run.build import choose_device
from ..run.loop import AgentLoop, loop_of
from ..run.resuming import resume_run
from ..run.session import Result
from ..run.start import Train, start_run
from ..settings.config import RunConfig, load_config
from ..settings.ranks import processes
from ..settings.usage import UsageError
from ..tracking.progress import Progress, quietly
from ..tracking.tracker import Tracker
from .loop import train, variant
from .team import Team


class SilentTracker(Tracker):
    """What ranks other than 0 report to."""


class NotStartedError(Exception):
    """Rank 0 has not begun, and has said why."""


def start_ranked(team: Team, config: RunConfig, run_dir: Path) -> Result:
    """Train from the beginning; returns how it ended, of which rank 0 alone knows the evaluation.

    Raises:
        UsageError: the request is wrong, or nothing of ours trains it in many processes; nothing is written.
        NotStartedError: so it was in rank 0.
    """
    config = stepped_by_sync(config)
    if why := why_not(config, team.size):
        raise UsageError(why)
    return _together(team, lambda train: start_run(config, run_dir, train))


def resume_ranked(
    team: Team,
    run_dir: Path,
    steps: int | None = None,
    schedule_steps: int | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Result:
    """Go on with a run, of as many processes as before or of others; returns as `start_ranked` does."""

    def resume(train: Train) -> Result:
        if why := why_not(load_config(run_dir), team.size, begun=True):
            raise UsageError(why)
        return resume_run(run_dir, steps, schedule_steps, device, threads, train)

    return _together(team, resume)


def _together(team: Team, begin: Callable[[Train], Result]) -> Result:
    """Let rank 0 begin, and all others train what it has begun."""
    if team.rank > 0:
        order = team.hand_out()
        if order is None:
            raise NotStartedError
        config, run_dir = order
        with quietly():
            return train(team, config, run_dir, SilentTracker(), Progress(config.steps), None)
    started = False

    def train_all(
        config: RunConfig, run_dir: Path, tracker: Tracker, progress: Progress, checkpoint: Path | None
    ) -> Result:
        nonlocal started
        started = True
        team.hand_out((config, run_dir))
        return train(team, config, run_dir, tracker, progress, checkpoint)

    try:
        return begin(train_all)
    finally:
        if not started:
            team.hand_out(None)


def stepped_by_sync(config: RunConfig) -> RunConfig:
    """The config with what steps the copies where that was left open: single environments, in each process."""
    return replace(config, backend="sync") if config.backend == "auto" else config


def why_not(config: RunConfig, ranks: int, *, begun: bool = False) -> str | None:
    """Why a run cannot be trained in so many processes; None where it can be. What has `begun` keeps its options."""
    one = "train it in one process"
    if loop_of(config) is not AgentLoop:
        return f"{config.agent} has a training loop of its own: {one}, without torchrun"
    if variant(config) is None and choose_device(config.device).type != "cpu":
        return f"{config.agent} is trained in many processes on the CPU only: {one}, or give --device cpu"
    if config.data or config.bonus != "none" or config.reward != "none":
        return f"demonstrations and learned rewards are those of one process: {one}, without torchrun"
    if config.dream.model is not None or config.show_model_memory:
        return f"world models are used in one process: {one}, without torchrun"
    if getattr(config.encoder_config, "mode", "") == "joint":
        return f"--encoder.mode joint: its reconstruction is of a whole minibatch: {one}, or give finetune or frozen"
    if config.env_options.one_per_process:
        return (
            f"--env.one-per-process: in {processes(ranks)} each holds several copies; {one}, without torchrun"
        )
    if config.backend != "sync":
        instead = "go on without torchrun" if begun else "give sync or nothing"
        return f"--backend {config.backend}: in {processes(ranks)} each steps its own copies; {instead}"
    if config.num_envs % ranks:
        instead = ranks_for(config.num_envs) if begun else copies_near(config.num_envs, ranks)
        return f"--num-envs {config.num_envs}: {ranks} processes step as many copies each; use {instead}"
    return None


def copies_near(num_envs: int, ranks: int) -> str:
    """Numbers of copies that so many processes can share, near the one that they cannot."""
    below = num_envs // ranks * ranks
    return f"{below} or {below + ranks}" if below else f"{ranks}"


def ranks_for(num_envs: int) -> str:
    """Numbers of processes that can share so many copies."""
    among = [f"{n}" for n in range(2, num_envs + 1) if num_envs % n == 0]
    return f"{' or '.join(among)} processes" if among else "one, without torchrun"
