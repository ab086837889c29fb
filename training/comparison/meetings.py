"""Who is better: agents compared with each other, in each environment and over all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..settings.providers import provider_of
from .results import FinishedRun, Pair
from .statistics import AGGREGATES, Estimate, Scores, estimate, probability_of_improvement, verdict

OURS, THEIRS = "Palaestra", "Stable-Baselines3"

# Scores by contestant and environment.
Grouped = dict[str, dict[str, np.ndarray]]


def grouped(runs: Iterable[FinishedRun]) -> Grouped:
    """Scores by contestant and environment."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        found.setdefault(run.contestant, {}).setdefault(run.env, []).append(run.score)
    return {c: {env: np.array(x) for env, x in by_env.items()} for c, by_env in found.items()}


def rounded(value: Estimate) -> list[float | None]:
    """Value, low and high end as they are written."""
    return [None if number is None else round(float(number), 6) for number in value]


def shared(first: str, second: str, scores: Grouped) -> list[str]:
    """Environments of both."""
    return [env for env in scores.get(first, {}) if env in scores.get(second, {})]


def compared(first: Scores, second: Scores) -> dict[str, Any]:
    """Probability of improvement and verdict."""
    improvement = probability_of_improvement(first, second)
    return {"probability": rounded(improvement), "verdict": verdict(improvement, first, second)}


def aggregates(scores: Scores) -> dict[str, list[float | None]]:
    """Every aggregate of normalised scores."""
    return (
        {title: rounded(estimate(statistic, scores)) for title, statistic in AGGREGATES.items()}
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
    baseline = {name: provider_of("agent", agent) is not None for name, agent in agents.items()}
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
