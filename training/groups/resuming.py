"""What a group goes on from: alike configs, steps that are left, checkpoints of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...agents.ppo import PPO
from ...agents.pqn import PQN
from ..run.loop import AgentLoop
from ..run.resuming import with_changes
from ..run.storage.checkpoint import latest_checkpoint, list_checkpoints
from ..settings.components import find_component
from ..settings.config import RunConfig, to_dict
from ..settings.planning import check_learns, schedule_change
from ..settings.usage import UsageError
from ..tracking.progress import say
from .member import group_steps


def check_alike(folders: Sequence[Path], configs: Sequence[RunConfig]) -> None:
    """Raise `UsageError` unless runs differ in their seeds, and in those only."""
    first = to_dict(configs[0])
    seen: dict[int, Path] = {}
    for folder, config in zip(folders, configs, strict=True):
        if config.seed in seen:
            raise UsageError(f"{seen[config.seed]} and {folder} have the same seed, {config.seed}: name one")
        seen[config.seed] = folder
        values = to_dict(config)
        name = next((name for name in values if name != "seed" and values[name] != first.get(name)), None)
        if name is not None:
            raise UsageError(f"{folders[0]} and {folder} differ in {name}: resume them one by one")


def with_steps(
    paths: list[Path], configs: list[RunConfig], steps: int | None, schedule_steps: int | None
) -> list[RunConfig]:
    """Configs for another total of steps, of runs or of their schedules; says what that does to the latter."""
    if steps is schedule_steps is None:
        return configs
    found = [
        AgentLoop.resume(with_changes(config, schedule_steps=schedule_steps), path, steps)
        for path, config in zip(paths, configs, strict=True)
    ]
    changed = [config for config, _ in found]
    check_learns(changed[0])
    # Runs that differ in their seeds stand at the same step, or a few from it.
    at = min(0 if checkpoint is None else int(checkpoint.name) for _, checkpoint in found)
    if change := schedule_change(configs[0], changed[0], at):
        say(change)
    return changed


def has_its_steps(path: Path, config: RunConfig) -> bool:
    """Whether a run has been trained to its end."""
    saved = list_checkpoints(path)
    return bool(saved) and int(saved[-1].name) >= config.steps


def starting_points(paths: list[Path], config: RunConfig, longer: bool) -> list[Path | None] | None:
    """Checkpoints to go on from, None for the beginning; None of all where runs cannot go on together.

    Agents that fill rollouts have to stand at one place of theirs: those go on from the newest step of the group at
    which each has a checkpoint. All others go on from wherever they are.
    """
    saved = [list_checkpoints(path) for path in paths]
    if find_component("agent", config.agent) not in (PPO, PQN):
        return [latest_checkpoint(path) if own else None for path, own in zip(paths, saved, strict=True)]
    found = [group_steps(path) for path in paths]
    # With another total, schedules have changed: what lies between must not be done once more.
    latest = {max(steps, default=-1) for steps in found} if longer else set()
    if len(latest) < 2 and (common := set.intersection(*(set(steps) for steps in found))):
        return [steps[max(common)] for steps in found]
    # Killed before each had written its first one: all begin again.
    return [None] * len(paths) if min(map(len, saved)) == 0 and max(map(len, saved)) <= 1 else None
