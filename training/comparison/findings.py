"""What finished runs say: scores, who beats whom, how fast, and how far to trust it, as plain values for a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

import numpy as np

from ..baselines.algorithms import is_baseline
from ..settings.components import find_component
from ..settings.usage import UsageError
from ..settings.yaml_files import parse_yaml
from ..tracking.provenance import distinct
from .results import FinishedRun, Pair, References, Results
from .statistics import (
    AGGREGATES,
    RUNS_FOR_INTERVAL,
    RUNS_FOR_TRUST,
    RUNS_FOR_VERDICT,
    Estimate,
    Scores,
    estimate,
    first_reaching,
    interquartile_mean,
    mean_interval,
    normalized,
    probability_of_improvement,
    verdict,
)

# An environment counts as learned where an evaluation reaches this normalised score.
LEARNED = 0.9
OURS, THEIRS = "Palaestra", "Stable-Baselines3"

# Scores by contestant and environment.
Grouped = dict[str, dict[str, np.ndarray]]


def read_references(entries: dict[str, Any], where: str) -> References:
    """Read return of random actions and of a good agent by environment.

    Raises:
        UsageError: a value is not two different numbers.
    """
    for env, pair in entries.items():
        if not (
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and all(isinstance(value, int | float) and not isinstance(value, bool) for value in pair)
            and pair[0] != pair[1]
        ):
            raise UsageError(
                f"{where}{env}: must be [return of random actions, return of a good agent], got {pair!r}"
            )
    return {env: (float(low), float(high)) for env, (low, high) in entries.items()}


def reference_scores() -> References:
    """Those that ship with the package."""
    entry = files("palaestra.configs").joinpath("reference_scores.yaml")
    return read_references(parse_yaml(entry.read_text(encoding="utf-8"), entry.name), f"{entry.name}: ")


def summarize(results: Results) -> dict[str, Any]:
    """Return everything that a report says; what depends on the machine's speed is under `timing`."""
    runs = results.runs
    scales = reference_scores() | results.references
    scores = grouped(runs)
    scaled = {
        contestant: {env: normalized(x, *scales[env]) for env, x in by_env.items() if env in scales}
        for contestant, by_env in scores.items()
    }
    pairs = [pair for pair in results.pairs if shared(*pair, scores)]
    return {
        "name": results.name,
        "contestants": list(scores),
        "environments": list(dict.fromkeys(run.env for run in runs)),
        "episodes": runs[0].episodes,
        "seeds": sorted({run.seed for run in runs}),
        "missing": results.missing,
        "notes": notes(runs, pairs, scores, scaled)
        + [f"Failed, and missing here: {each}" for each in results.missing],
        "overall": overall(runs, pairs, scores, scaled),
        "pairs": [pair_row(first, second, scores, scaled) for first, second in pairs],
        "table": table(runs),
        "normalized": {c: {env: x.tolist() for env, x in by_env.items()} for c, by_env in scaled.items()},
        "references": {env: list(scales[env]) for env in sorted({run.env for run in runs} & set(scales))},
        "curves": [curve(run) for run in runs],
        "efficiency": reaching(runs, scales, lambda run: [float(step) for step, _ in run.curve]),
        "made_with": distinct(session for run in runs for session in run.made_with),
        "timing": {
            "seconds": [run.seconds for run in runs],
            "curve_seconds": [run.curve_seconds for run in runs],
            "efficiency": reaching(runs, scales, lambda run: run.curve_seconds),
        },
    }


def grouped(runs: Iterable[FinishedRun]) -> Grouped:
    """Scores by contestant and environment."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        found.setdefault(run.contestant, {}).setdefault(run.env, []).append(run.score)
    return {c: {env: np.array(x) for env, x in by_env.items()} for c, by_env in found.items()}


def plain(value: Estimate) -> list[float | None]:
    """Value, low and high end as they are written."""
    return [None if number is None else round(float(number), 6) for number in value]


def shared(first: str, second: str, scores: Grouped) -> list[str]:
    """Environments of both."""
    return [env for env in scores.get(first, {}) if env in scores.get(second, {})]


# -- Who is better --------------------------------------------------------------------------------------------------


def compared(first: Scores, second: Scores) -> dict[str, Any]:
    """Probability of improvement and verdict."""
    improvement = probability_of_improvement(first, second)
    return {"probability": plain(improvement), "verdict": verdict(improvement, first, second)}


def aggregates(scores: Scores) -> dict[str, list[float | None]]:
    """Every aggregate of normalised scores."""
    return (
        {title: plain(estimate(statistic, scores)) for title, statistic in AGGREGATES.items()}
        if scores
        else {}
    )


def pair_row(first: str, second: str, scores: Grouped, scaled: Grouped) -> dict[str, Any]:
    """How one agent fares against another, over all environments of both and in each."""
    common = shared(first, second, scores)
    rows = [
        {"environment": env, **compared({env: scores[first][env]}, {env: scores[second][env]})}
        for env in common
    ]
    return {
        "first": first,
        "second": second,
        **compared(scores[first], scores[second]),
        "environments": rows,
        "aggregates": [
            aggregates({env: scaled[each][env] for env in common if env in scaled[each]})
            for each in (first, second)
        ],
    }


def overall(
    runs: list[FinishedRun], pairs: list[Pair], scores: Grouped, scaled: Grouped
) -> dict[str, Any] | None:
    """All of ours against all of Stable-Baselines3's; None where fewer than two pairs are of that kind.

    Every meeting of two agents in an environment counts the same, as environments do within a pair.
    """
    agents = {run.contestant: run.agent for run in runs}
    baseline = {name: is_baseline(find_component("agent", agent)) for name, agent in agents.items()}
    meeting = [pair for pair in pairs if baseline[pair[1]] and not baseline[pair[0]]]
    if len(meeting) < 2:
        return None
    cells = [(pair, env) for pair in meeting for env in shared(*pair, scores)]

    def side(index: int, source: Grouped) -> dict[str, np.ndarray]:
        return {
            f"{' / '.join(pair)} / {env}": source[pair[index]][env]
            for pair, env in cells
            if env in source[pair[index]]
        }

    ours, theirs = side(0, scores), side(1, scores)
    verdicts = [compared({cell: ours[cell]}, {cell: theirs[cell]})["verdict"] for cell in ours]
    return {
        "first": OURS,
        "second": THEIRS,
        **compared(ours, theirs),
        "meetings": len(verdicts),
        "verdicts": {each: verdicts.count(each) for each in ("better", "tie", "worse", "too few runs")},
        "aggregates": [aggregates(side(index, scaled)) for index in (0, 1)],
        "normalized": [{cell: x.tolist() for cell, x in side(index, scaled).items()} for index in (0, 1)],
    }


def table(runs: list[FinishedRun]) -> list[dict[str, Any]]:
    """Final scores of every agent in every environment, and what a user would type for the first of its runs."""
    groups: dict[tuple[str, str], list[FinishedRun]] = {}
    for env in dict.fromkeys(run.env for run in runs):
        for run in runs:
            if run.env == env:
                groups.setdefault((env, run.contestant), []).append(run)
    rows = []
    for (env, contestant), group in groups.items():
        values = np.array([run.score for run in group])
        rows.append(
            {
                "environment": env,
                "contestant": contestant,
                "agent": group[0].agent,
                "steps": group[0].steps,
                "seeds": [run.seed for run in group],
                "mean": plain(mean_interval(values)),
                "iqm": plain(estimate(interquartile_mean, {env: values})),
                "runs": values.tolist(),
                "commands": group[0].commands,
            }
        )
    return rows


def notes(runs: list[FinishedRun], pairs: list[Pair], scores: Grouped, scaled: Grouped) -> list[str]:
    """What a reader must know before believing a number."""
    said = []
    counts = [len(x) for by_env in scores.values() for x in by_env.values()]
    few = min(counts)
    if few < RUNS_FOR_INTERVAL:
        said.append(
            f"Too few seeds: some agents have only {few} run{'s' * (few > 1)} in an environment. Where there are "
            f"fewer than {RUNS_FOR_INTERVAL}, no interval is given."
        )
    if any(scores_of(pair, scores) < RUNS_FOR_VERDICT for pair in pairs):
        said.append(
            f"No verdict is given on fewer than {RUNS_FOR_VERDICT} runs a side: three against three are fully apart "
            "by chance in one case of ten."
        )
    elif RUNS_FOR_INTERVAL <= few < RUNS_FOR_TRUST:
        said.append(
            f"Few seeds: some agents have only {few} runs in an environment. Intervals of fewer than "
            f"{RUNS_FOR_TRUST} are too narrow, and a tie may only mean that more seeds are needed."
        )
    uneven = {
        env
        for first, second in pairs
        for env in shared(first, second, scores)
        if len({run.steps for run in runs if run.env == env and run.contestant in (first, second)}) > 1
    }
    if uneven:
        said.append(f"Not everybody had the same number of steps in {', '.join(sorted(uneven))}.")
    left_out = {run.env for run in runs} - {env for by_env in scaled.values() for env in by_env}
    if left_out:
        said.append(f"No reference scores for {', '.join(sorted(left_out))}: left out of what is normalised.")
    return said


def scores_of(pair: Pair, scores: Grouped) -> int:
    """Runs on the side that has fewer."""
    return min(sum(len(scores[each][env]) for env in shared(*pair, scores)) for each in pair)


# -- How fast -------------------------------------------------------------------------------------------------------


def curve(run: FinishedRun) -> dict[str, Any]:
    """Evaluations of a run."""
    steps, returns = zip(*run.curve, strict=True)
    head = {"contestant": run.contestant, "environment": run.env, "seed": run.seed}
    return head | {"steps": list(steps), "returns": list(returns)}


def reaching(
    runs: list[FinishedRun], scales: References, clock: Callable[[FinishedRun], list[float]]
) -> list[dict[str, Any]]:
    """When evaluations first reach a normalised score of 0.9: each run, and the median, None where under half do."""
    groups: dict[Pair, list[float]] = {}
    for run in runs:
        if run.env in scales:
            low, high = scales[run.env]
            returns = [value for _, value in run.curve]
            when = first_reaching(clock(run), returns, low + LEARNED * (high - low))
            groups.setdefault((run.env, run.contestant), []).append(when)
    return [
        {
            "environment": env,
            "contestant": contestant,
            "reached": int(np.isfinite(values).sum()),
            "runs": [value if np.isfinite(value) else None for value in values],
            "median": float(np.median(values)) if np.isfinite(np.median(values)) else None,
        }
        for (env, contestant), values in groups.items()
    ]
