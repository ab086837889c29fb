"""Scored runs: read from their folders, or from the comparisons of several machines."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..run.listing import EVALUATIONS_FILE, SUMMARY_FILE, RunInfo, evaluations
from ..settings.components import find_component
from ..settings.config import TELLING, EnvOptions, RunConfig, load_plain_config, to_dict
from ..settings.typed import flat, plain, unlike
from ..settings.usage import UsageError, typed_command
from ..tracking.metrics_file import read_metrics
from ..tracking.provenance import made_with
from .references import References
from .suites import place_of

# What may differ between runs of one agent: where they went, and how they were stepped and computed.
NOT_OPTIONS = TELLING | {"seed", "checkpoint_every", "backend", "device", "compile", "threads"}
# What may differ between machines: where files lie, and how copies are spread.
OF_MACHINES = {
    "data",
    "init_from",
    "dream.model",
    "show_model_memory",
    "env_options.workers",
    "env_options.timeout",
}
# Names of two that are compared.
Pair = tuple[str, str]


@dataclass(frozen=True)
class FinishedRun:
    """A run that was trained and scored."""

    contestant: str
    agent: str
    env: str
    steps: int
    seed: int
    score: float
    """Mean return of the final evaluation."""
    episodes: int
    """Episodes of the final evaluation."""
    curve: list[tuple[int, float]]
    """Step and mean return of each evaluation on the way."""
    curve_seconds: list[float]
    """Seconds of training, evaluations included, at each of them."""
    seconds: float
    """Seconds of the whole run, over all its sessions."""
    commands: list[str]
    """What a user would type for it."""
    made_with: list[dict[str, Any]]
    """Versions, commit and machine of each session."""
    curve_cpu: list[float] | None = None
    """CPU seconds at each evaluation; None where a version before these were counted has trained it."""
    cpu_seconds: float | None = None
    """Those of the whole run."""
    cut: int = 0
    """Episodes of the final evaluation that were cut off by evaluate_max_steps."""
    options: dict[str, Any] | None = None
    """What makes it a run of its agent, in the layout of config.yaml; None where an older version has kept none."""


@dataclass(frozen=True)
class Results:
    """Scored runs, and who is compared with whom."""

    name: str
    runs: list[FinishedRun]
    pairs: list[Pair]
    """Also of agents that have not met here: another machine may have the runs of one of them."""
    references: References = field(default_factory=dict)
    """In addition to those that ship."""
    missing: list[str] = field(default_factory=list)
    """Runs that failed, and why."""


def finished_run(
    contestant: str, info: RunInfo, score: dict[str, float], commands: list[list[str]]
) -> FinishedRun:
    """Read a finished run from its folder."""
    folder = Path(info.path)
    reached = evaluations(folder)
    if not reached:
        raise UsageError(f"{folder} has no {EVALUATIONS_FILE}, so that nobody knows how it has learned")
    steps = [step for step, _ in reached]
    summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    cpu = summary.get("cpu_seconds")
    return FinishedRun(
        contestant=contestant,
        agent=info.agent,
        env=info.env,
        steps=info.steps,
        seed=info.seed,
        score=score["return_mean"],
        episodes=int(score["episodes"]),
        curve=reached,
        curve_seconds=spent_until(folder, steps, "time/total", (info.steps, summary["seconds"])),
        seconds=float(summary["seconds"]),
        commands=[typed_command(*words) for words in commands],
        made_with=made_with(folder),
        curve_cpu=None if cpu is None else spent_until(folder, steps, "time/cpu", (info.steps, cpu)),
        cpu_seconds=cpu,
        cut=int(score.get("cut", 0)),
        options=options_of(load_plain_config(folder)),
    )


def options_of(config: RunConfig) -> dict[str, Any]:
    """What runs of one agent have in common, as it is read back from a file: tuples are lists."""
    values = {name: value for name, value in to_dict(config).items() if name not in NOT_OPTIONS}
    return json.loads(json.dumps(values, default=str))


def spent_until(run_dir: Path, steps: list[int], metric: str, whole: tuple[int, float]) -> list[float]:
    """Seconds, evaluations included, when training came to these steps; `whole` are steps and seconds of the run.

    Between rows of metrics, which may be rare, they grow with the steps.
    """
    rows = {0: 0.0, whole[0]: whole[1]} | {
        row["step"]: row[metric] for row in read_metrics(run_dir) if metric in row
    }
    known = sorted(rows.items())
    return np.interp(steps, [step for step, _ in known], [seconds for _, seconds in known]).tolist()


def read_results(path: Path) -> Results:
    """Read a `comparison.json` back.

    Raises:
        UsageError: there is none, or it was written by another version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = {(row["environment"], row["contestant"]): row for row in found["table"]}
        curves, timing = found["curves"], found["timing"]
        unknown = [None] * len(curves)  # in those of older versions
        spent = {
            "curve_seconds": timing["curve_seconds"],
            "seconds": timing["seconds"],
            "curve_cpu": timing.get("curve_cpu", unknown),
            "cpu_seconds": timing.get("cpu_seconds", unknown),
        }
        runs = [
            _run(
                rows[curve["environment"], curve["contestant"]],
                curve,
                found,
                dict(zip(spent, each, strict=True)),
            )
            for curve, *each in zip(curves, *spent.values(), strict=True)
        ]
        # Older versions name only pairs that have met.
        met = [(pair["first"], pair["second"]) for pair in found["pairs"]]
        pairs = [(first, second) for first, second in found.get("pairings", met)]
        references = {env: (low, high) for env, (low, high) in found["references"].items()}
        if not runs:
            raise ValueError("it has no runs")
        if broken := [
            run for run in runs if not np.isfinite([run.score, *(value for _, value in run.curve)]).all()
        ]:
            raise ValueError(f"{broken[0].contestant} on {broken[0].env} has a score that is no number")
        return Results(found["name"], runs, pairs, references, found["missing"])
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a comparison.json that this version has written ({error!r})"
        ) from error


def _run(
    row: dict[str, Any], curve: dict[str, Any], found: dict[str, Any], spent: dict[str, Any]
) -> FinishedRun:
    return FinishedRun(
        contestant=row["contestant"],
        agent=row["agent"],
        env=row["environment"],
        steps=row["steps"],
        seed=curve["seed"],
        score=dict(zip(row["seeds"], row["runs"], strict=True))[curve["seed"]],
        episodes=found["episodes"],
        curve=list(zip(curve["steps"], curve["returns"], strict=True)),
        commands=row["commands"],
        made_with=found["made_with"],
        cut=curve.get("cut", 0),
        options=row.get("options"),
        **spent,
    )


def merge_results(parts: dict[str, Results]) -> Results:
    """Put comparisons together as if all had been run in one.

    Raises:
        UsageError: they were scored differently, call different agents, or one with other options, the same, or have
            a run in common.
    """
    if len({run.episodes for part in parts.values() for run in part.runs}) > 1:
        raise UsageError(f"{' and '.join(parts)} were scored over different numbers of episodes")
    where: dict[tuple[str, str, int], str] = {}
    agents: dict[tuple[str, str], tuple[str, int, str]] = {}
    options: dict[tuple[str, str], tuple[dict[str, Any] | None, str]] = {}
    for path, part in parts.items():
        for run in part.runs:
            named = f"{run.contestant} on {run.env}"
            agent, steps, first = agents.setdefault((run.contestant, run.env), (run.agent, run.steps, path))
            if (agent, steps) != (run.agent, run.steps):
                raise UsageError(
                    f"{named} is {agent} for {steps:,} steps in {first}, {run.agent} for {run.steps:,} in {path}"
                )
            asked, other = options.setdefault((run.contestant, run.env), (run.options, path))
            if asked is not None and run.options is not None:
                for name in unlike(asked, run.options):
                    if name not in OF_MACHINES and not _came_later(name, asked, run.options):
                        raise UsageError(f"{named} has another {name} in {other} than in {path}")
            twin = where.setdefault((run.contestant, run.env, run.seed), path)
            if twin != path:
                raise UsageError(f"{named} with seed {run.seed} is in both {twin} and {path}: name one")
    every = list(parts.values())
    # What has failed in one part may be in another.
    places = {
        f"{place_of(run.env, run.contestant, run.steps, run.seed)} (" for part in every for run in part.runs
    }
    scales: dict[str, tuple[tuple[float, float], str]] = {}
    for path, part in parts.items():
        for env, scale in part.references.items():
            known, first = scales.setdefault(env, (scale, path))
            if known != scale:
                raise UsageError(f"{env} is scored from {known} in {first}, from {scale} in {path}")
    return Results(
        name=" and ".join(dict.fromkeys(part.name for part in every)),
        runs=[run for part in every for run in part.runs],
        pairs=list(dict.fromkeys(pair for part in every for pair in part.pairs)),
        references={env: scale for env, (scale, _) in scales.items()},
        missing=[
            line for part in every for line in part.missing if not any(place in line for place in places)
        ],
    )


def _came_later(name: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether one part was made before there was an option, and the other leaves it at its default."""
    if (name in flat(one)) == (name in flat(other)):
        return False
    options = other if name in flat(other) else one
    block, dot, option = name.partition(".")
    known: Any = {"env_options": EnvOptions}.get(block, RunConfig)
    if dot and isinstance(options[block], dict) and "name" in options[block]:
        try:
            known = find_component(block, options[block]["name"]).Config  # type: ignore[arg-type]
        except UsageError:
            return False
    defaults = {item.name: item.default for item in fields(known)}
    return plain(defaults.get(option or block, MISSING)) == flat(options)[name]
