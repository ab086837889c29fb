"""What a reader of a comparison must know before believing its numbers."""

from __future__ import annotations

from .meetings import Grouped, shared
from .results import FinishedRun, Pair
from .statistics import RUNS_FOR_INTERVAL, RUNS_FOR_TRUST, RUNS_FOR_VERDICT


def notes(runs: list[FinishedRun], pairs: list[Pair], scores: Grouped, scaled: Grouped) -> list[str]:
    """Caveats: what a reader must know before believing a number."""
    found = []
    counts = [len(x) for by_env in scores.values() for x in by_env.values()]
    few = min(counts)
    if few < RUNS_FOR_INTERVAL:
        found.append(
            f"Too few seeds: some agents have only {few} run{'s' * (few > 1)} in an environment. Where there are "
            f"fewer than {RUNS_FOR_INTERVAL}, no interval is given."
        )
    if any(scores_of(pair, scores) < RUNS_FOR_VERDICT for pair in pairs):
        found.append(
            f"No verdict is given on fewer than {RUNS_FOR_VERDICT} runs a side: three against three are fully apart "
            "by chance in one case of ten."
        )
    if RUNS_FOR_INTERVAL <= few < RUNS_FOR_TRUST:
        found.append(
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
        found.append(f"Not everybody had the same number of steps in {', '.join(sorted(uneven))}.")
    left_out = {run.env for run in runs} - {env for by_env in scaled.values() for env in by_env}
    if left_out:
        found.append(
            f"No reference scores for {', '.join(sorted(left_out))}: left out of what is normalised."
        )
    return found


def scores_of(pair: Pair, scores: Grouped) -> int:
    """Runs on the side that has fewer."""
    return min(sum(len(scores[each][env]) for env in shared(*pair, scores)) for each in pair)
