"""Tables of a comparison, as header and rows of text."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tracking.return_text import return_digits

Table = tuple[list[str], list[list[str]]]
Value = list[float | None]
# What users read of what is measured.
NAMES = {"steps": "steps", "seconds": "seconds", "cpu_seconds": "core-seconds"}


def tables(findings: dict[str, Any]) -> dict[str, Table]:
    """Every table as header and rows of text."""
    found = {
        "Final scores": scores_table(findings),
        "Normalised scores over environments": aggregates_table(findings),
        "Steps until it is learned": efficiency_table(findings, findings["efficiency"], "steps"),
        "Seconds until it is learned": efficiency_table(
            findings, findings["timing"]["efficiency"], "seconds"
        ),
        "Core-seconds until it is learned": efficiency_table(
            findings, findings["timing"]["cpu_efficiency"], "cpu_seconds"
        ),
    }
    return {title: table for title, table in found.items() if table[1]}


def scores_table(findings: dict[str, Any]) -> Table:
    """Mean and interquartile mean of final scores."""
    header = ["environment", "agent", "steps", "runs", "mean return", "interquartile mean"]
    rows = [
        [
            row["environment"],
            row["contestant"],
            short(row["steps"]),
            str(len(row["runs"])),
            *measured_returns(row["mean"], row["iqm"]),
        ]
        for row in findings["table"]
    ]
    return header, rows


def aggregates_table(findings: dict[str, Any]) -> Table:
    """Aggregates of agents that meet, over the environments of both."""
    rows, titles = [], []
    for row in [findings["overall"], *findings["pairs"]]:
        if row and all(row["aggregates"]):
            titles = list(row["aggregates"][0])
            for name, values in zip((row["first"], row["second"]), row["aggregates"], strict=True):
                against = row["second"] if name == row["first"] else row["first"]
                rows.append([name, against, *(measured(values[title]) for title in titles)])
    return ["agent", "met with", *titles], rows


def efficiency_table(findings: dict[str, Any], source: list[dict[str, Any]], unit: str) -> Table:
    """When evaluations first reach a normalised score of 0.9."""
    rows = []
    for row in source:
        median = (
            "-"
            if row["median"] is None
            else short(row["median"])
            if unit == "steps"
            else f"{row['median']:.1f}"
        )
        line = [row["environment"], row["contestant"], f"{row['reached']} of {len(row['runs'])}", median]
        if unit != "steps":
            line.append(f"{whole_runs(findings, row['environment'], row['contestant'], unit):.1f}")
        rows.append(line)
    name = NAMES[unit]
    extra = [] if unit == "steps" else [f"{name} of a whole run (median)"]
    return ["environment", "agent", "runs that get there", f"{name} (median)", *extra], rows


def whole_runs(findings: dict[str, Any], env: str, contestant: str, unit: str) -> float:
    """Median seconds of training, or CPU seconds."""
    of_runs = zip(findings["curves"], findings["timing"][unit], strict=True)
    spent = [s for curve, s in of_runs if (curve["environment"], curve["contestant"]) == (env, contestant)]
    return float(np.median(spent))


def meetings_table(findings: dict[str, Any], pair: dict[str, Any]) -> Table:
    """One agent against another, environment by environment."""
    first, second = pair["first"], pair["second"]
    cells = {(row["environment"], row["contestant"]): row for row in findings["table"]}
    rows = []
    for row in pair["environments"]:
        ours, theirs = cells[row["environment"], first], cells[row["environment"], second]
        equal = ours["steps"] == theirs["steps"]
        steps = short(ours["steps"]) if equal else f"{short(ours['steps'])}, {short(theirs['steps'])}"
        counts = dict.fromkeys((str(len(ours["runs"])), str(len(theirs["runs"]))))
        both = measured_returns(ours["mean"], theirs["mean"])
        chance = measured(row["probability"])
        rows.append([row["environment"], steps, ", ".join(counts), *both, chance, row["verdict"]])
    return ["environment", "steps", "runs", first, second, f"P({first} wins)", f"{first} is"], rows


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def measured(value: Value, digits: int = 2) -> str:
    """A number with its interval, if it has one."""
    middle, low, high = value
    return f"{middle:.{digits}f}" + ("" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]")


def measured_returns(*values: Value) -> list[str]:
    """Returns that stand together, all to as many decimals."""
    digits = return_digits(*(middle for middle, _, _ in values if middle is not None))
    return [measured(each, digits) for each in values]


def short(steps: float) -> str:
    """Steps as people write them: 500, 20k, 1M."""
    return f"{steps / 1e6:.4g}M" if steps >= 1e6 else f"{steps / 1e3:.4g}k" if steps >= 1e3 else f"{steps:g}"
