"""Options of `palaestra envs`, and what it calls."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..settings.arguments import parse
from ..settings.usage import UsageError, as_usage_errors, closest, nearest


def envs(arguments: list[str]) -> int:
    """List or check environments."""
    commands = {"list": envs_list, "check": envs_check, "survey": envs_survey}
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: palaestra envs list [PATTERN] | check ID | survey [PATTERN]")
        return 0 if arguments else 2
    if arguments[0] not in commands:
        raise UsageError(f"unknown command 'envs {arguments[0]}'; {nearest(arguments[0], commands)}")
    return commands[arguments[0]](arguments[1:])


@dataclass(frozen=True)
class EnvsListOptions:
    """Environments that are installed."""

    pattern: Annotated[str, tyro.conf.Positional] = ""
    """Only ids that contain this; * and ? stand for anything."""
    spaces: bool = False
    """Show observation and action spaces; every environment is made for that."""
    json: bool = False
    """Print one JSON object."""


def envs_list(arguments: list[str]) -> int:
    """List environments."""
    options = parse(EnvsListOptions, arguments, "envs list")
    from ..settings.catalog import catalog, format_catalog

    found = catalog(options.pattern, options.spaces)
    if not found:
        raise UsageError(no_environment(options.pattern))
    print(json.dumps({"environments": found}) if options.json else format_catalog(found))
    return 0


def no_environment(pattern: str) -> str:
    """Say that no id has this in it, and which one has something like it."""
    from ...envs.listing import list_environments

    # By the name alone: a pattern is less like the whole id.
    names = {re.split(r"[-/]", listing.id.removeprefix("palaestra/"))[0] for listing in list_environments()}
    close = closest(pattern, sorted(names))
    hint = f"did you mean {close!r}?" if close else "`palaestra envs list` shows what there is"
    return f"no environment's id contains {pattern!r}; {hint}"


@dataclass(frozen=True)
class EnvsCheckOptions:
    """Is this environment sound?"""

    env: Annotated[str, tyro.conf.Positional]
    """Gymnasium id; module:Id imports the module first."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment, NAME=VALUE each."""
    wrappers: tuple[str, ...] = ()
    """Wrappers by name, innermost first: module:Wrapper, or module:Wrapper(name=value)."""
    json: bool = False
    """Print one JSON object."""


def envs_check(arguments: list[str]) -> int:
    """Check an environment; exit code 2 when it has errors."""
    options = parse(EnvsCheckOptions, arguments, "envs check")
    from ...envs.check import check_environment
    from ..benchmarks.baseline_speed import checkers
    from ..settings.train_options import parse_assignments

    with as_usage_errors():
        kwargs = parse_assignments(options.env_kwargs, "--env-kwargs")
        report = check_environment(options.env, kwargs, options.wrappers, checkers())
    if options.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        lines = [f"error: {line}" for line in report.errors] + [
            f"warning: {line}" for line in report.warnings
        ]
        lines += [f"observations: {report.observation_space}", f"actions: {report.action_space}"]
        speed = f", {report.steps_per_second:,.0f} steps/s" if report.steps_per_second else ""
        print("\n".join([*lines, f"{report.id}: {'ok' if report.ok else 'not sound'}{speed}"]))
    return 0 if report.ok else 2


@dataclass(frozen=True)
class EnvsSurveyOptions:
    """Check every installed environment and step it."""

    patterns: Annotated[tuple[str, ...], tyro.conf.Positional] = ("",)
    """Only ids that contain one of these; * and ? stand for anything."""
    out: Path | None = None
    """Markdown file to write; it is printed otherwise."""
    json: bool = False
    """Print one JSON object."""


def envs_survey(arguments: list[str]) -> int:
    """Check all environments; exit code 1 if one cannot be stepped for no known reason."""
    options = parse(EnvsSurveyOptions, arguments, "envs survey")
    from ..benchmarks.survey import format_survey, known_failure, survey
    from ..tracking.progress import say

    rows = survey(options.patterns, say)
    if not rows:
        raise UsageError(no_environment(" ".join(options.patterns)))
    page = format_survey(rows)
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")
    if options.json:
        print(json.dumps({"environments": rows}))
    elif options.out is None:
        print(page)
    return 1 if any(row["failed"] and known_failure(row) is None for row in rows) else 0
