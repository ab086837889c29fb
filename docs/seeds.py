"""Print which seeds the committed reports were made with, and which of them presets were chosen by.

python docs/seeds.py
"""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
# Seeds that were run while a preset was chosen, as far as they were written down.
LOOKED_AT = Path(__file__).parent / "looked_at.csv"
# Presets are chosen on seeds below this one; what is published as fresh has others, and nothing is chosen by those.
FRESH_FROM = 100

# Environment and agent.
Cell = tuple[str, str]


def seeds_of_reports() -> dict[str, dict[Cell, set[int]]]:
    """Seeds by report, environment and agent."""
    found: dict[str, dict[Cell, set[int]]] = {}
    for path in sorted(RESULTS.glob("*/scores.csv")):
        cells = found.setdefault(path.parent.name, {})
        for row in rows(path):
            cells.setdefault((row["environment"], row["contestant"]), set()).add(int(row["seed"]))
    return found


def looked_at() -> dict[Cell, set[int]]:
    """Seeds that were run while a preset was chosen, by environment and agent."""
    return {(row["environment"], row["agent"]): parsed(row["seeds"]) for row in rows(LOOKED_AT)}


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def parsed(text: str) -> set[int]:
    """Seeds of `0-4 30`."""
    spans = [[int(end) for end in span.split("-")] for span in text.split()]
    return {seed for span in spans for seed in range(span[0], span[-1] + 1)}


def spans(seeds: set[int]) -> str:
    """As people write them: 0-4 30."""
    runs = groupby(enumerate(sorted(seeds)), lambda pair: pair[1] - pair[0])
    ends = [[seed for _, seed in run] for _, run in runs]
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ends)


def kind_of(seeds: set[int], chosen_by: set[int]) -> str:
    """What the seeds of a report are to the preset."""
    seen = {seed for seed in seeds if seed < FRESH_FROM or seed in chosen_by}
    return "fresh" if not seen else "looked at" if seen == seeds else "mixed"


def main() -> None:
    """One line for each agent in each environment of each report."""
    chosen = looked_at()
    line = "{:<9} {:<27} {:<18} {:<8} {:<10} {}"
    print(line.format("report", "environment", "agent", "seeds", "", "looked at before"))
    for report, cells in seeds_of_reports().items():
        for (env, agent), seeds in cells.items():
            before = chosen.get((env, agent), set())
            print(
                line.format(report, env, agent, spans(seeds), kind_of(seeds, before), spans(before)).rstrip()
            )


if __name__ == "__main__":
    main()
