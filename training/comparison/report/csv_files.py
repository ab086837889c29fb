"""Numbers of a comparison as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_csvs(findings: dict[str, Any], out: Path) -> list[Path]:
    """Write final scores, meetings, learning curves, and what depends on the machine's speed; returns the files."""
    curves, timing = findings["curves"], findings["timing"]
    runs = [
        (row["environment"], row["contestant"], row["steps"], seed, value)
        for row in findings["table"]
        for seed, value in zip(row["seeds"], row["runs"], strict=True)
    ]
    meetings = [
        (pair["first"], pair["second"], row["environment"], *row["probability"], row["verdict"])
        for pair in findings["pairs"]
        for row in pair["environments"]
    ]
    points = [
        (curve["environment"], curve["contestant"], curve["seed"], step, value)
        for curve in curves
        for step, value in zip(curve["steps"], curve["returns"], strict=True)
    ]
    seconds = [
        (curve["environment"], curve["contestant"], curve["seed"], *spent)
        for curve, *spent in zip(curves, timing["seconds"], timing["cpu_seconds"], strict=True)
    ]
    head = ("environment", "contestant")
    write_csv(out / "scores.csv", (*head, "steps", "seed", "return"), runs)
    names = ("first", "second", "environment", "probability_of_improvement", "low", "high", "first_is")
    write_csv(out / "meetings.csv", names, meetings)
    write_csv(out / "curves.csv", (*head, "seed", "step", "return"), points)
    write_csv(out / "seconds.csv", (*head, "seed", "seconds", "cpu_seconds"), seconds)
    return [out / f"{name}.csv" for name in ("scores", "meetings", "curves", "seconds")]


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write one file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
