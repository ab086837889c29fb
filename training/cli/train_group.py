"""`palaestra train ... --seeds` and `--resume` of several runs: one process, a run for each seed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..settings.arguments import option_value, option_words
from ..settings.config import load_plain_config, to_dict
from ..settings.trust import command_for
from ..settings.usage import UsageError, nearest
from ..tracking.return_text import return_text, spread_texts
from .terminal.output import DONE, FAILURE, exit_code

if TYPE_CHECKING:
    from ..groups.start import GroupResult
    from ..settings.config import RunConfig

RESUME_OPTIONS = ("resume", "steps", "schedule-steps", "trust")


def without_seeds(arguments: list[str]) -> list[str]:
    """The words without `--seeds` and what was given for it; those of `--help` as they are.

    Raises:
        UsageError: there is --seed, too.
    """
    if option_value(arguments, "seeds") is None or {"-h", "--help"} & set(arguments):
        return arguments
    if option_value(arguments, "seed") is not None:
        raise UsageError("--seed and --seeds: give one of them")
    words, skip = [], False
    for word in arguments:
        if skip or word == "--seeds" or word.startswith("--seeds="):
            skip = word == "--seeds"
            continue
        words.append(word)
    return words


def resumed_folders(arguments: list[str]) -> list[Path]:
    """The folders of a group that is to be resumed; none where it is one run."""
    from ..groups.start import is_group, runs_in

    given = [Path(word) for word in option_words(arguments, "resume") or []]
    folders = [run for path in given for run in (runs_in(path) if is_group(path) else [path])]
    return folders if len(folders) > 1 or (given and is_group(given[0])) else []


def train_seeds(arguments: list[str], resumed: list[Path] | None = None) -> int:
    """Train a group from the beginning, or go on with one."""
    from ...envs.backends.failure import EnvironmentFailedError
    from ..groups.seeds import parse_seeds
    from ..groups.start import group_folders, resume_group, start_group

    folders = resumed or []
    try:
        if resumed:
            result = resume_group(resumed, *_resume_steps(arguments))
        else:
            from ..settings.train_options import read_train_options

            seeds = parse_seeds(option_value(arguments, "seeds") or "")
            config, out = read_train_options(arguments[0], without_seeds(arguments[1:]))
            if {"-h", "--help"} & set(arguments):
                return DONE
            folders = group_folders(config, seeds, out)
            result = start_group(config, seeds, folders)
    except EnvironmentFailedError as failure:
        print(f"error: {failure}", file=sys.stderr)
        config = load_plain_config(folders[0])
        print(f"when it is repaired, go on with: {resume_command(config, folders)}", file=sys.stderr)
        return FAILURE
    print(describe_group(result))
    return FAILURE if result.signal is None and result.failed else exit_code(result.signal)


def _resume_steps(arguments: list[str]) -> list[int | None]:
    """What `--steps` and `--schedule-steps` say; of several runs no more can be changed.

    Raises:
        UsageError: there is another option.
    """
    from ..settings.typed import parse_count

    for word in arguments:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name not in RESUME_OPTIONS:
            raise UsageError(f"--{name}: not of several runs at once; {nearest(name, RESUME_OPTIONS)}")
    found: list[int | None] = []
    for name in ("steps", "schedule-steps"):
        given = option_value(arguments, name)
        try:
            found.append(None if given is None else parse_count(given))
        except ValueError as error:
            raise UsageError(f"--{name}: {error}") from None
    return found


def describe_group(result: GroupResult) -> str:
    """A few lines about a group that has just ended."""
    config = load_plain_config(result.folders[0])
    done = [each for each in result.results if each is not None]
    if result.signal is not None:
        steps = sum(each.step for each in done)
        command = resume_command(config, result.folders)
        return f"stopped after {steps:,} steps of all seeds; go on with: {command}"
    lines = [f"{config.agent} on {config.env}, {len(result.folders)} seeds"]
    returns = []
    for folder, each in zip(result.folders, result.results, strict=True):
        if each is None:
            lines.append(
                f"  {folder}: {'could not go on, see above' if folder in result.failed else 'as it was'}"
            )
            continue
        if each.evaluation is None:
            lines.append(f"  {folder}: {each.step:,} steps")
            continue
        summary = each.evaluation.summary()
        returns.append(summary["return_mean"])
        lines.append(f"  {folder}: {each.step:,} steps, return {return_text(summary['return_mean'])}")
    if returns:
        mean, deviation, least, most = spread_texts(returns)
        lines.append(f"  return   {mean} +- {deviation} over seeds ({least} to {most})")
    if done:
        seconds = max(each.seconds for each in done)
        steps = sum(each.step for each in done)
        lines.append(
            f"  trained  {steps:,} steps in {seconds:.1f} s ({steps / max(seconds, 1e-9):,.0f} steps/s)"
        )
    lines.append(f"  next     {command_for(to_dict(config), 'compare', *places_of(result.folders))}")
    return "\n".join(lines)


def resume_command(config: RunConfig, folders: list[Path]) -> str:
    """What goes on with a group."""
    return command_for(to_dict(config), "train", "--resume", *places_of(folders))


def places_of(folders: list[Path]) -> list[Path]:
    """The folder that holds all runs of a group, where it holds no others; else the runs."""
    from ..groups.start import is_group, runs_in

    parent = folders[0].parent
    return [parent] if is_group(parent) and runs_in(parent) == list(folders) else list(folders)
