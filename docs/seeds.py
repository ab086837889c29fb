"""Print which seeds the committed reports were made with, and which of them presets were chosen by.

python docs/seeds.py
"""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
# Presets are chosen on seeds below this one; what is published as fresh has others, and nothing is chosen by those.
FRESH_FROM = 100


def seeds_of_reports() -> dict[tuple[str, str, str], list[int]]:
    """Seeds by report, environment and agent."""
    found: dict[tuple[str, str, str], set[int]] = {}
    for path in sorted(RESULTS.glob("*/scores.csv")):
        with path.open() as file:
            for row in csv.DictReader(file):
                key = (path.parent.name, row["environment"], row["contestant"])
                found.setdefault(key, set()).add(int(row["seed"]))
    return {key: sorted(seeds) for key, seeds in found.items()}


def spans(seeds: list[int]) -> str:
    """As people write them: 0-4, 30-39."""
    runs = [[seed for _, seed in run] for _, run in groupby(enumerate(seeds), lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def kind_of(seeds: list[int]) -> str:
    """What the seeds are to the presets."""
    looked_at = [seed for seed in seeds if seed < FRESH_FROM]
    return "fresh" if not looked_at else "looked at" if len(looked_at) == len(seeds) else "mixed"


def main() -> None:
    """One line for each agent in each environment of each report."""
    for (report, env, agent), seeds in seeds_of_reports().items():
        print(f"{report:<10} {env:<34} {agent:<18} {spans(seeds):<14} {kind_of(seeds)}")


if __name__ == "__main__":
    main()
