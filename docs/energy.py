"""Print what a meeting of the committed comparisons took to learn its environment: seconds and core-seconds.

python docs/energy.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from palaestra.training.comparison.analysis import LEARNED

RESULTS = Path(__file__).parent / "results"
HEAD = [
    "| suite | environment | agents | return to reach | seconds | core-seconds | times less |",
    "|---|---|---|---|---|---|---|",
]


def lines() -> list[str]:
    """The table in Markdown."""
    found = [HEAD[0], HEAD[1]]
    for path in sorted(RESULTS.glob("*/comparison.json")):
        found += meetings(path.parent.name, json.loads(path.read_text(encoding="utf-8")))
    return found


def meetings(suite: str, findings: dict[str, Any]) -> list[str]:
    """A line for each environment in which an agent of ours meets one of Stable-Baselines3's."""
    timing = findings["timing"]
    seconds, cores = (medians(timing.get(name, [])) for name in ("efficiency", "cpu_efficiency"))
    found = []
    for pair in findings["pairs"]:
        both = pair["first"], pair["second"]
        if not both[1].startswith("sb3/"):
            continue
        for row in pair["environments"]:
            env = row["environment"]
            if env not in findings["references"]:
                continue
            low, high = findings["references"][env]
            times = [side_by_side([of.get((env, agent)) for agent in both]) for of in (seconds, cores)]
            # Core-seconds do not depend on what else the machine does; older comparisons have none. Those of one side
            # are not to be compared with seconds of the other.
            counted = any((env, agent) in cores for agent in both)
            ratio = less([(cores if counted else seconds).get((env, agent)) for agent in both])
            goal = low + LEARNED * (high - low)
            reach = f"{goal:.3g}" if abs(goal) < 1000 else f"{goal:,.0f}"
            cells = [suite, env, f"{both[0]}, {both[1]}", reach, *times, ratio]
            found.append(f"| {' | '.join(cells)} |")
    return found


def medians(rows: list[dict[str, Any]]) -> dict[tuple[str, str], float | None]:
    """Medians over runs by environment and agent, None unless more than half of the runs got there."""
    return {(row["environment"], row["contestant"]): row["median"] for row in rows}


def side_by_side(values: list[float | None]) -> str:
    """Ours and theirs; a dash where it was not reached, or not counted."""
    if values == [None, None]:
        return "-"
    return ", ".join("-" if value is None else f"{value:.1f}" for value in values)


def less(values: list[float | None]) -> str:
    """How many times less ours took."""
    ours, theirs = values
    return f"{theirs / ours:.1f}" if ours and theirs else "-"


if __name__ == "__main__":
    print("\n".join(lines()))
