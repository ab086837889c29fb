"""Charts of a comparison, one a question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..suites import slug
from .chart_style import teams_of
from .outcome_charts import improvement, profiles, returns
from .speed_charts import efficiency, learning_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Chart:
    """A question, and the pictures that answer it."""

    question: str
    caption: str
    files: list[Path]


def draw_charts(findings: dict[str, Any], out: Path) -> list[Chart]:
    """Draw every chart that there is something for into `out`."""
    teams = teams_of(findings)
    band = "Bands and bars are 95 % intervals."
    asked: list[tuple[str, str, Iterator[tuple[str, Figure]]]] = [
        (
            "Who is better?",
            "Probability that a run of the first agent beats a run of the second in the same environment, ties counted "
            "half. Right of the middle the first is better, left of it the second; an interval that holds "
            "the middle is a tie.",
            one("improvement", improvement(findings)),
        ),
        (
            "How good is each?",
            f"Return of the final evaluation, a small dot a run, the large mark their mean. {band}",
            one("returns", returns(findings)),
        ),
        (
            "Who learns from fewer steps?",
            f"Return of evaluations during training against environment steps, mean over runs. {band}",
            ((f"curves_steps_{slug(team[0])}", learning_curves(findings, team, "steps")) for team in teams),
        ),
        (
            "How many steps until it is learned?",
            "Environment steps until an evaluation first reaches a normalised score of 0.9, median over runs; a hollow "
            "mark at the right: no more than half of the runs get there.",
            one("efficiency_steps", efficiency(findings, "steps")),
        ),
        (
            "How often is each how good?",
            "Share of runs above a normalised score (0 random, 1 good), environments weighted alike. Higher is "
            f"better. {band}",
            one("profiles", profiles(findings, teams)),
        ),
        (
            "Who learns in less time?",
            "The same evaluations against seconds of training on this machine; seeds trained together are each "
            f"charged all of them. {band}",
            ((f"curves_time_{slug(team[0])}", learning_curves(findings, team, "seconds")) for team in teams),
        ),
        (
            "How many seconds until it is learned?",
            "Seconds of training until an evaluation first reaches a normalised score of 0.9, median over runs; seeds "
            "trained together are each charged all of them.",
            one("efficiency_seconds", efficiency(findings, "seconds")),
        ),
    ]
    charts = [Chart(question, caption, saved(figures, out)) for question, caption, figures in asked]
    return [chart for chart in charts if chart.files]


def one(name: str, figure: Figure | None) -> Iterator[tuple[str, Figure]]:
    """Yield a figure under its name, unless there is none."""
    if figure is not None:
        yield name, figure


def saved(figures: Iterator[tuple[str, Figure]], out: Path) -> list[Path]:
    """Write figures as PNG; returns their files."""
    files = []
    for name, figure in figures:
        files.append(out / f"{name}.png")
        figure.savefig(files[-1], dpi=150)
    return files
