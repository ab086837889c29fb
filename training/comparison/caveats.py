"""What a reader of a comparison must know before believing its numbers."""

from __future__ import annotations

from ..settings.typed import unlike
from .meetings import Grouped, shared
from .results import FinishedRun, Pair
from .statistics import RUNS_FOR_INTERVAL, RUNS_FOR_TRUST, RUNS_FOR_VERDICT

# Options that make a task what it is.
TASK = ("env_kwargs", "env_options.wrappers", "env_options.clip_reward", "evaluate_max_steps")


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
    found += [*unlike_tasks(runs, pairs, scores), *cut_off(runs)]
    left_out = {run.env for run in runs} - {env for by_env in scaled.values() for env in by_env}
    if left_out:
        found.append(
            f"No reference scores for {', '.join(sorted(left_out))}: left out of what is normalised."
        )
    return found


def unlike_tasks(runs: list[FinishedRun], pairs: list[Pair], scores: Grouped) -> list[str]:
    """Who met although they were not asked to do the same."""
    options = {(run.contestant, run.env): run.options for run in runs}
    found = []
    for first, second in pairs:
        for env in shared(first, second, scores):
            one, other = options[first, env], options[second, env]
            if one is None or other is None:  # older versions have kept none
                continue
            if names := sorted(name for name in unlike(one, other) if name.startswith(TASK)):
                found.append(
                    f"{first} and {second} did not have the same task in {env}, but another {' and '.join(names)}."
                )
    return found


def cut_off(runs: list[FinishedRun]) -> list[str]:
    """Whose final evaluations were not of whole episodes."""
    found = []
    for contestant, env in dict.fromkeys((run.contestant, run.env) for run in runs):
        group = [run for run in runs if (run.contestant, run.env) == (contestant, env)]
        if cut := sum(run.cut for run in group):
            played = sum(run.episodes for run in group)
            found.append(
                f"{cut} of {played} final episodes of {contestant} in {env} were cut off by evaluate_max_steps."
            )
    return found


def scores_of(pair: Pair, scores: Grouped) -> int:
    """Runs on the side that has fewer."""
    return min(sum(len(scores[each][env]) for env in shared(*pair, scores)) for each in pair)
