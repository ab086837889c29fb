"""`palaestra compare`: train what is missing, score every run in the same way, and say who is better."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..envs.make import make_envs
from .bench import machine
from .build import env_spec
from .config import UsageError, as_usage_errors, load_config, parse_yaml, save_config, to_dict
from .launch import Job, LocalLauncher, Outcome, RayLauncher, only_one, score_of
from .runs import find_runs
from .statistics import (
    AGGREGATES,
    FEW_RUNS,
    Estimate,
    estimate,
    first_reaching,
    mean_interval,
    normalized,
    probability_of_improvement,
    verdict,
)
from .suites import PlannedRun, Suite, differences, plan, requested_config, slug
from .tracking import read_metrics

# An environment counts as learned where a run reaches this normalised score.
LEARNED = 0.9

Say = Callable[[str], None]


@dataclass(frozen=True)
class FinishedRun:
    """A run that was trained and scored."""

    contestant: str
    env: str
    steps: int
    seed: int
    folder: Path
    score: dict[str, float]
    commands: list[list[str]]


def run_suite(
    suite: Suite,
    out: Path,
    launcher: LocalLauncher | RayLauncher,
    watch: Callable[[list[PlannedRun], list[Outcome]], None],
) -> tuple[list[FinishedRun], list[Outcome]]:
    """Do what is missing of a suite in `out`; returns the finished runs and the outcomes that failed.

    Raises:
        UsageError: options are wrong, or a run that exists already is not what the suite asks for.
    """
    with only_one(out):
        planned = plan(suite, out)
        jobs = make_jobs(planned, suite.episodes, out)
        by_folder = {job.folder: run for job, run in zip(jobs, planned, strict=True)}
        missing = [job for job in jobs if score_of(Path(job.folder), suite.episodes) is None]
        finished = [Outcome(job.folder) for job in jobs if job not in missing]
        outcomes = finished + launcher.run(missing, lambda done: watch(planned, finished + done))
    scored = []
    for job in jobs:
        run, score = by_folder[job.folder], score_of(Path(job.folder), suite.episodes)
        if score is not None:
            commands = job.commands
            scored.append(
                FinishedRun(run.contestant.label, run.env, run.steps, run.seed, run.folder, score, commands)
            )
    return scored, [outcome for outcome in outcomes if outcome.error]


def make_jobs(planned: list[PlannedRun], episodes: int, out: Path) -> list[Job]:
    """Write the config of every kind of run, and compare it with the runs that exist already."""
    jobs, checked = [], set()
    for run in planned:
        config = requested_config(run)
        if run.env not in checked:
            with as_usage_errors():
                make_envs(env_spec(config)).close()
            checked.add(run.env)
        if (run.folder / "config.yaml").is_file() and (
            differing := differences(run, config, load_config(run.folder))
        ):
            raise UsageError(
                f"{run.folder} is not what the suite asks for: {differing[0]}; choose another --out, or remove it"
            )
        place = out / "configs" / slug(run.env) / f"{slug(run.contestant.label)}-{run.steps}"
        place.mkdir(parents=True, exist_ok=True)
        save_config(place, config)
        file = str(place / "config.yaml")
        jobs.append(Job(run.contestant.agent, file, str(run.folder), run.seed, episodes))
    return jobs


def score_runs(
    folders: Iterable[Path], episodes: int, launcher: LocalLauncher | RayLauncher, say: Say
) -> list[FinishedRun]:
    """Score runs that exist already; a folder of runs stands for all in it.

    Raises:
        UsageError: there is none, one has not finished, or two of an agent differ in their options.
    """
    infos = {info.path: info for folder in folders for info in find_runs(folder)}
    if not infos:
        raise UsageError("there are no runs to compare; see palaestra runs")
    options: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for path, info in infos.items():
        if not info.finished:
            raise UsageError(f"{path} has not finished; go on with: palaestra train --resume {path}")
        values = {name: value for name, value in to_dict(load_config(Path(path))).items() if name != "seed"}
        first, known = options.setdefault((info.agent, info.env), (path, values))
        if known != values:
            name = next(name for name in values if known.get(name) != values[name])
            raise UsageError(
                f"{first} and {path} are both {info.agent} on {info.env}, but differ in {name}; "
                "write a suite that gives them names"
            )
    jobs = [Job(info.agent, "", path, info.seed, episodes) for path, info in infos.items()]
    for outcome in launcher.run(jobs, lambda done: None):
        if outcome.error:
            raise UsageError(f"{outcome.folder} cannot be evaluated: {outcome.error}")
        say(f"evaluated {outcome.folder}")
    finished = []
    for job in jobs:
        info, score = infos[job.folder], score_of(Path(job.folder), episodes)
        assert score is not None
        finished.append(
            FinishedRun(
                info.agent, info.env, info.steps, info.seed, Path(job.folder), score, job.commands[1:]
            )
        )
    return finished


# -- What it says ---------------------------------------------------------------------------------------------------


def pairings(suite: Suite) -> list[tuple[str, str]]:
    """Who is compared with whom: the first agent of each match with the others."""
    found = [(match.agents[0].label, other.label) for match in suite.matches for other in match.agents[1:]]
    return list(dict.fromkeys(found))


def natural_pairings(runs: list[FinishedRun]) -> list[tuple[str, str]]:
    """The same for runs without a suite: ours with every baseline, or, without baselines, everybody with everybody."""
    names = list(dict.fromkeys(run.contestant for run in runs))
    theirs = [name for name in names if name.startswith("sb3/")]
    ours = [name for name in names if name not in theirs]
    if theirs and ours:
        return [(one, other) for one in ours for other in theirs]
    return [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]


def reference_scores() -> dict[str, tuple[float, float]]:
    """Mean return of random actions and of a good agent, by environment."""
    from importlib.resources import files

    entry = files("palaestra.configs").joinpath("reference_scores.yaml")
    values = parse_yaml(entry.read_text(encoding="utf-8"), entry.name)
    return {env: (float(low), float(high)) for env, (low, high) in values.items()}


def summarize(name: str, runs: list[FinishedRun], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Return everything that a report says, as plain values; what depends on the machine's speed is under `timing`."""
    scales = reference_scores()
    scores = _grouped(runs)
    contestants = list(scores)
    scaled = {
        contestant: {env: normalized(x, *scales[env]) for env, x in by_env.items() if env in scales}
        for contestant, by_env in scores.items()
    }
    return {
        "name": name,
        "contestants": contestants,
        "environments": list(dict.fromkeys(run.env for run in runs)),
        "episodes": int(runs[0].score["episodes"]),
        "notes": notes(runs, scores, scaled),
        "pairs": [
            pair_row(first, second, scores) for first, second in pairs if shared(first, second, scores)
        ],
        "aggregates": {
            contestant: {title: _plain(estimate(AGGREGATES[title], x)) for title in AGGREGATES}
            for contestant, x in scaled.items()
            if x
        },
        "table": [row for pair in _rows_by_env(runs) for row in pair],
        "scores": {c: {env: x.tolist() for env, x in by_env.items()} for c, by_env in scores.items()},
        "normalized": {c: {env: x.tolist() for env, x in by_env.items()} for c, by_env in scaled.items()},
        "curves": curves(runs),
        "efficiency": efficiency(runs, scales),
        "commands": commands(runs),
        "versions": versions(),
        "timing": {"machine": machine(), **timing(runs, scales)},
    }


def _grouped(runs: list[FinishedRun]) -> dict[str, dict[str, np.ndarray]]:
    grouped: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        grouped.setdefault(run.contestant, {}).setdefault(run.env, []).append(run.score["return_mean"])
    return {c: {env: np.array(x) for env, x in by_env.items()} for c, by_env in grouped.items()}


def _plain(value: Estimate) -> list[float]:
    return [round(float(x), 6) for x in value]


def shared(first: str, second: str, scores: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """Environments of both."""
    return [env for env in scores.get(first, {}) if env in scores.get(second, {})]


def pair_row(first: str, second: str, scores: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """How one agent fares against another, over all environments of both and in each."""
    overall = probability_of_improvement(scores[first], scores[second])
    by_env = {
        env: probability_of_improvement({env: scores[first][env]}, {env: scores[second][env]})
        for env in shared(first, second, scores)
    }
    return {
        "first": first,
        "second": second,
        "probability": _plain(overall),
        "verdict": verdict(overall),
        "environments": {
            env: {"probability": _plain(value), "verdict": verdict(value)} for env, value in by_env.items()
        },
    }


def _rows_by_env(runs: list[FinishedRun]) -> list[list[dict[str, Any]]]:
    tables: dict[str, dict[tuple[str, int], list[FinishedRun]]] = {}
    for run in runs:
        tables.setdefault(run.env, {}).setdefault((run.contestant, run.steps), []).append(run)
    return [
        [
            {
                "environment": env,
                "contestant": contestant,
                "steps": steps,
                "seeds": len(group),
                "mean": _plain(mean_interval(np.array([run.score["return_mean"] for run in group]))),
                "runs": [run.score["return_mean"] for run in group],
            }
            for (contestant, steps), group in groups.items()
        ]
        for env, groups in tables.items()
    ]


def notes(
    runs: list[FinishedRun],
    scores: dict[str, dict[str, np.ndarray]],
    scaled: dict[str, dict[str, np.ndarray]],
) -> list[str]:
    """What a reader must know before believing a number."""
    said = []
    fewest = min(len(x) for by_env in scores.values() for x in by_env.values())
    if fewest < FEW_RUNS:
        said.append(
            f"Some agents have only {fewest} run{'s' * (fewest > 1)} in an environment: intervals of so few are "
            "too narrow, and a tie may only mean that more seeds are needed."
        )
    budgets: dict[str, set[int]] = {}
    for run in runs:
        budgets.setdefault(run.env, set()).add(run.steps)
    uneven = [env for env, steps in budgets.items() if len(steps) > 1]
    if uneven:
        said.append(f"Not everybody had the same number of steps in {', '.join(uneven)}.")
    left_out = sorted(
        {env for by_env in scores.values() for env in by_env} - {e for x in scaled.values() for e in x}
    )
    if left_out:
        said.append(f"No reference scores for {', '.join(left_out)}: left out of what is normalised.")
    return said


def evaluations(run: FinishedRun) -> list[tuple[int, float]]:
    """Step and mean return of every evaluation during training."""
    rows = json.loads((run.folder / "evaluations.json").read_text())
    return [(int(row["step"]), float(row["return_mean"])) for row in rows]


def curves(runs: list[FinishedRun]) -> list[dict[str, Any]]:
    """Evaluations of every run."""
    return [
        {
            "contestant": run.contestant,
            "environment": run.env,
            "seed": run.seed,
            "steps": [step for step, _ in evaluations(run)],
            "returns": [value for _, value in evaluations(run)],
        }
        for run in runs
    ]


def efficiency(runs: list[FinishedRun], scales: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """Steps until an evaluation reaches a normalised score of 0.9: the median over runs, None where under half do."""
    return _reaching(runs, scales, lambda run: [float(step) for step, _ in evaluations(run)], "steps")


def timing(runs: list[FinishedRun], scales: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Seconds until the same, and of whole runs; other work on the machine makes them longer."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        by_env = seconds.setdefault(run.contestant, {}).setdefault(run.env, [])
        by_env.append(max(run_seconds(run), default=0.0))
    return {
        "seconds": {c: {env: float(np.median(x)) for env, x in by.items()} for c, by in seconds.items()},
        "efficiency": _reaching(runs, scales, run_seconds, "seconds"),
        "curve_seconds": [run_seconds(run) for run in runs],
    }


def run_seconds(run: FinishedRun) -> list[float]:
    """Seconds of training, evaluations included, at each evaluation."""
    rows = [row for row in read_metrics(run.folder) if "time/total" in row]
    steps, totals = [row["step"] for row in rows], [row["time/total"] for row in rows]
    if not rows:
        return [0.0] * len(evaluations(run))
    return np.interp([step for step, _ in evaluations(run)], steps, totals).tolist()


def _reaching(
    runs: list[FinishedRun],
    scales: dict[str, tuple[float, float]],
    clock: Callable[[FinishedRun], list[float]],
    unit: str,
) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        if run.env in scales:
            low, high = scales[run.env]
            returns = [value for _, value in evaluations(run)]
            when = first_reaching(clock(run), returns, low + LEARNED * (high - low))
            groups.setdefault((run.env, run.contestant), []).append(when)
    return [
        {
            "environment": env,
            "contestant": contestant,
            "reached": int(np.isfinite(values).sum()),
            "seeds": len(values),
            unit: float(np.median(values)) if np.isfinite(np.median(values)) else None,
        }
        for (env, contestant), values in groups.items()
    ]


def commands(runs: list[FinishedRun]) -> list[str]:
    """What a user would type for the first run of every agent in every environment."""
    first: dict[tuple[str, str], FinishedRun] = {}
    for run in runs:
        first.setdefault((run.env, run.contestant), run)
    return ["palaestra " + " ".join(words) for run in first.values() for words in run.commands]


def versions() -> dict[str, str]:
    """Versions of what results depend on, and the commit where there is one."""
    import subprocess
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for package in ("palaestra", "torch", "gymnasium", "stable-baselines3", "sb3-contrib", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    here = Path(__file__).parent
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return found | ({"commit": asked.stdout.strip()} if asked.returncode == 0 else {})
