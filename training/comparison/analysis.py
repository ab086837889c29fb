"""What finished runs show: scores, who beats whom, how fast, and how far to trust it, as plain values for a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tracking.provenance import distinct
from .caveats import notes
from .meetings import grouped, overall, pair_row, rounded, shared
from .references import References, reference_scores
from .results import FinishedRun, Pair, Results
from .statistics import estimate, first_reaching, mean_interval, normalized, pooled_interquartile_mean

# An environment counts as learned where an evaluation reaches this normalised score.
LEARNED = 0.9


def analyze(results: Results) -> dict[str, Any]:
    """Return the findings, everything that a report says; what depends on the machine's speed is under `timing`."""
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
        "pairings": [list(pair) for pair in results.pairs],
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
            "cpu_seconds": [run.cpu_seconds for run in runs],
            "curve_cpu": [run.curve_cpu for run in runs],
            "cpu_efficiency": reaching(counted(runs), scales, lambda run: run.curve_cpu or []),
        },
    }


def table(runs: list[FinishedRun]) -> list[dict[str, Any]]:
    """Final scores of every agent in every environment, and what a user would type for the first of its runs."""
    rows = []
    for (env, contestant), group in cells(runs).items():
        values = np.array([run.score for run in group])
        rows.append(
            {
                "environment": env,
                "contestant": contestant,
                "agent": group[0].agent,
                "steps": group[0].steps,
                "seeds": [run.seed for run in group],
                "mean": rounded(mean_interval(values)),
                "iqm": rounded(estimate(pooled_interquartile_mean, {env: values})),
                "runs": values.tolist(),
                "commands": group[0].commands,
                "options": group[0].options,
            }
        )
    return rows


def cells(runs: list[FinishedRun]) -> dict[Pair, list[FinishedRun]]:
    """Runs by environment and agent, environment after environment."""
    groups: dict[Pair, list[FinishedRun]] = {}
    for env in dict.fromkeys(run.env for run in runs):
        for run in runs:
            if run.env == env:
                groups.setdefault((env, run.contestant), []).append(run)
    return groups


def curve(run: FinishedRun) -> dict[str, Any]:
    """Evaluations of a run."""
    steps, returns = zip(*run.curve, strict=True)
    head = {"contestant": run.contestant, "environment": run.env, "seed": run.seed}
    return head | {"steps": list(steps), "returns": list(returns), "cut": run.cut}


def counted(runs: list[FinishedRun]) -> list[FinishedRun]:
    """Runs of agents and environments whose CPU seconds are all known."""
    unknown = {(run.env, run.contestant) for run in runs if run.curve_cpu is None}
    return [run for run in runs if (run.env, run.contestant) not in unknown]


def reaching(
    runs: list[FinishedRun], scales: References, clock: Callable[[FinishedRun], list[float]]
) -> list[dict[str, Any]]:
    """When evaluations first reach a normalised score of 0.9: each run; the median, None unless more than half do."""
    rows = []
    for (env, contestant), group in cells(runs).items():
        if env not in scales:
            continue
        low, high = scales[env]
        enough = low + LEARNED * (high - low)
        when = [first_reaching(clock(run), [value for _, value in run.curve], enough) for run in group]
        rows.append(
            {
                "environment": env,
                "contestant": contestant,
                "reached": int(np.isfinite(when).sum()),
                "runs": [value if np.isfinite(value) else None for value in when],
                "median": float(np.median(when)) if np.isfinite(np.median(when)) else None,
            }
        )
    return rows
