"""Findings of a comparison in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .tables import measured, scores_table


def headline(findings: dict[str, Any]) -> list[tuple[str, str]]:
    """The result in plain words: verdict and sentence, of all first, then of each pair of agents."""
    sentences = []
    if overall := findings["overall"]:
        count = overall["verdicts"]
        unclear = f", {count['too few runs']} with too few runs to say" if count["too few runs"] else ""
        sentences.append(
            f"{sentence(overall)}, over {overall['meetings']} meetings of an agent with its counterpart in an "
            f"environment: {count['better']} won, {count['tie']} tied, {count['worse']} lost{unclear}."
        )
    for pair in findings["pairs"]:
        environments = len(pair["environments"])
        sentences.append(f"{sentence(pair)}, over {environments} environment{'s' * (environments > 1)}.")
    verdicts = [row["verdict"] for row in [findings["overall"], *findings["pairs"]] if row]
    return list(zip(verdicts, sentences, strict=True))


def sentence(row: dict[str, Any]) -> str:
    """Who is better, in words, with the probability of improvement."""
    first, second = row["first"], row["second"]
    words = {
        "better": f"{first} is better than {second}",
        "worse": f"{first} is worse than {second}",
        "tie": f"{first} and {second} cannot be told apart",
        "too few runs": f"Too few runs to say whether {first} or {second} is better",
    }
    return f"{words[row['verdict']]}: a run of the first wins with probability {measured(row['probability'])}"


def made(findings: dict[str, Any]) -> list[str]:
    """How the numbers came about: seeds, episodes, references, versions and machines, a sentence each."""
    seeds = ", ".join(map(str, findings["seeds"]))
    lines = [
        f"A run's score is its mean return over {findings['episodes']} evaluation episodes after training, "
        "with the best actions and seeds that neither training nor its evaluations used.",
        f"Seeds of the runs: {seeds}; the commands below are those of the first, the others differ in seed and folder.",
        "Seconds are those of the process: seeds that one process trained together, as those of our agents are by "
        "default, are each charged all of them. Core-seconds are each run's share.",
        "Intervals hold 95 % of 10,000 bootstrap samples, in which runs are drawn again within each environment.",
    ]
    if findings["references"]:
        pairs = (f"{env} {low:g} and {high:g}" for env, (low, high) in findings["references"].items())
        lines.append(
            f"Normalised scores are 0 for random actions and 1 for a good agent: {'; '.join(pairs)}."
        )
    for session in findings["made_with"]:
        versions = ", ".join(f"{name} {number}" for name, number in session["versions"].items())
        commit = f"commit {session['commit']}, " if session["commit"] else ""
        machine = session["machine"]
        lines.append(
            f"Made with {commit}{versions}, on {machine['processor']}, {machine['cores']} cores, {machine['system']}."
        )
    return lines


def commands(findings: dict[str, Any]) -> list[str]:
    """What a user would type for the first run of every agent in every environment."""
    return [line for row in findings["table"] for line in row["commands"]]


def terminal_text(findings: dict[str, Any], path: Path) -> str:
    """What the command prints at its end: the scores, the verdicts, and where the report lies."""
    header, rows = scores_table(findings)
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    sentences = [line for _, line in headline(findings)]
    return "\n".join(
        [*lines, "", *sentences, *(f"note: {note}" for note in findings["notes"]), f"report: {path}"]
    )
