"""`palaestra envs`: environments that are installed, and whether they are sound."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..settings.usage import UsageError, as_usage_errors, nearest
from .terminal.options import CountOrZero, JsonSwitch, Positive, read_options
from .terminal.output import BAD_INPUT, DONE, FAILURE, print_result

if TYPE_CHECKING:
    from ...envs.checking.check import CheckReport


def envs(arguments: list[str]) -> int:
    """List or check environments."""
    commands = {"list": envs_list, "check": envs_check, "survey": envs_survey}
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: palaestra envs list [PATTERN] | check ID | survey [PATTERN]")
        return DONE if arguments else BAD_INPUT
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
    json: JsonSwitch = False


def envs_list(arguments: list[str]) -> int:
    """List environments."""
    options = read_options(EnvsListOptions, arguments, "envs list")
    from ..settings.catalog import catalog, format_catalog, no_environment

    found = catalog(options.pattern, options.spaces)
    if not found:
        raise UsageError(no_environment(options.pattern))
    print_result({"environments": found}, options.json, lambda _: format_catalog(found))
    return DONE


@dataclass(frozen=True)
class EnvsCheckOptions:
    """Is this environment sound?"""

    env: Annotated[str, tyro.conf.Positional]
    """Gymnasium id; module:Id imports the module first."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment, NAME=VALUE each."""
    wrappers: tuple[str, ...] = ()
    """Wrappers by name, innermost first: module:Wrapper, or module:Wrapper(name=value)."""
    json: JsonSwitch = False


def envs_check(arguments: list[str]) -> int:
    """Check an environment; exit code 2 when it has errors."""
    options = read_options(EnvsCheckOptions, arguments, "envs check")
    from ...envs.checking.check import check_environment
    from ..baselines.env_checker import env_checkers
    from ..benchmarks.candidates import trainable_agents
    from ..settings.train_options import parse_assignments

    with as_usage_errors():
        kwargs = parse_assignments(options.env_kwargs, "--env-kwargs")
        report = check_environment(
            options.env, kwargs, options.wrappers, env_checkers(), agents=trainable_agents
        )
    print_result(dataclasses.asdict(report), options.json, lambda _: format_check(report))
    return DONE if report.ok else BAD_INPUT


def format_check(report: CheckReport) -> str:
    """Lay a report out for reading."""
    lines = [f"error: {line}" for line in report.errors] + [f"warning: {line}" for line in report.warnings]
    lines += [f"observations: {report.observation_space}", f"actions: {report.action_space}"]
    lines.append(f"agents: {', '.join(report.agents) or 'none can train in it'}")
    speed = f", {report.steps_per_second:,.0f} steps/s" if report.steps_per_second else ""
    verdict = "ok" if report.ok else "not reproducible" if report.agents else "not sound"
    return "\n".join([*lines, f"{report.id}: {verdict}{speed}"])


@dataclass(frozen=True)
class EnvsSurveyOptions:
    """Check every installed environment and step it."""

    patterns: Annotated[tuple[str, ...], tyro.conf.Positional] = ("",)
    """Only ids that contain one of these; * and ? stand for anything."""
    packages: Path | None = None
    """Check and train in what these installed packages register instead: a file with one name a line, behind it the
    module to import if that is another. Nothing is installed."""
    limit: CountOrZero = 0
    """With --packages: environments of each package at most; 0 is all."""
    timeout: Positive = 120.0
    """With --packages: seconds that an environment may take, in a process of its own."""
    out: Path | None = None
    """Markdown file to write; it is printed otherwise."""
    json: JsonSwitch = False


def envs_survey(arguments: list[str]) -> int:
    """Check all environments; exit code 1 if one cannot be stepped for no known reason, or if a check was wrong."""
    options = read_options(EnvsSurveyOptions, arguments, "envs survey")
    from ..tracking.progress import say

    def keep(page: str) -> None:
        if options.out is not None:
            options.out.write_text(page, encoding="utf-8")

    if options.packages is not None:
        from ..benchmarks.package_survey import disagreements, format_packages, read_packages, survey_packages

        listed = read_packages(options.packages)

        def page_of(rows: list[dict[str, Any]]) -> str:
            return format_packages(rows, options.packages)

        rows = survey_packages(listed, options.limit, options.timeout, say, lambda rows: keep(page_of(rows)))
        page, bad = page_of(rows), disagreements(rows)
    else:
        from ..benchmarks.survey import format_survey, survey, unexplained
        from ..settings.catalog import no_environment

        rows = survey(options.patterns, say)
        if not rows:
            raise UsageError(no_environment(" ".join(options.patterns)))
        page, bad = format_survey(rows), unexplained(rows)
    keep(page)
    if options.json or options.out is None:
        print_result({"environments": rows}, options.json, lambda _: page)
    return FAILURE if bad else DONE
