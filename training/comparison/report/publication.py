"""A comparison as a W&B run shows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tracking.wandb_publish import Publication
from .report import Written
from .tables import markdown_table, tables
from .text import commands, headline

Curve = tuple[list[float], list[float]]


def comparison_publication(findings: dict[str, Any], written: Written) -> Publication:
    """Return what a run about a comparison holds: all that the report says."""
    found = tables(findings)
    lines = [f"- {line}" for _, line in headline(findings)] + [
        f"- note: {note}" for note in findings["notes"]
    ]
    text = ["\n".join(lines)]
    text += [f"## {title}\n\n" + "\n".join(markdown_table(*table)) for title, table in found.items()]
    text.append("## Commands\n\n```\n" + "\n".join(commands(findings)) + "\n```")
    names = ("episodes", "seeds", "contestants", "environments", "made_with")
    return Publication(
        kind="comparison",
        name=findings["name"],
        text=text,
        config={name: findings[name] for name in names},
        summary=numbers(findings),
        tables=found | {"Runs": runs_table(findings)},
        curves=mean_curves(findings),
        pictures=written.pictures,
        files=written.files,
    )


def numbers(findings: dict[str, Any]) -> dict[str, float | str]:
    """Every mean return and every verdict, by name."""
    lines: dict[str, float | str] = {
        f"return/{row['environment']}/{row['contestant']}": row["mean"][0] for row in findings["table"]
    }
    for row in [findings["overall"], *findings["pairs"]]:
        if row:
            name = f"{row['first']} against {row['second']}"
            lines |= {f"improvement/{name}": row["probability"][0], f"verdict/{name}": row["verdict"]}
    return lines


def runs_table(findings: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The final score of every run, as numbers."""
    rows = [
        [row["environment"], row["contestant"], row["steps"], seed, value]
        for row in findings["table"]
        for seed, value in zip(row["seeds"], row["runs"], strict=True)
    ]
    return ["environment", "agent", "steps", "seed", "return"], rows


def mean_curves(findings: dict[str, Any]) -> dict[str, dict[str, Curve]]:
    """Mean evaluation return over seeds, by environment and agent."""
    groups: dict[str, dict[str, list[Curve]]] = {}
    for curve in findings["curves"]:
        group = groups.setdefault(curve["environment"], {}).setdefault(curve["contestant"], [])
        group.append((curve["steps"], curve["returns"]))
    return {
        env: {name: mean_of_curves(runs) for name, runs in by_name.items()} for env, by_name in groups.items()
    }


def mean_of_curves(runs: list[Curve]) -> Curve:
    """Mean of steps and of returns, evaluation by evaluation, as far as all runs have come."""
    length = min(len(steps) for steps, _ in runs)
    steps, returns = (np.mean([run[part][:length] for run in runs], axis=0) for part in (0, 1))
    return steps.tolist(), returns.tolist()
