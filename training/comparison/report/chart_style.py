"""How charts look: colours that colour-blind readers can tell apart, grids of panels, intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import Band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, yellow left out; marks and lines, so that colour is not all that tells agents apart.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKS = ["o", "s", "^", "D", "v", "P", "X"]
LINES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
GREY = "#767676"
VERDICT_COLORS = {"better": COLORS[0], "worse": COLORS[1], "tie": GREY, "too few runs": "#AAAAAA"}
# Columns of a grid of environments.
COLUMNS = 3


def teams_of(findings: dict[str, Any]) -> list[list[str]]:
    """Agents that share a chart: one, and all that it is compared with. Agents that meet nobody are a team of one."""
    teams: dict[str, list[str]] = {}
    for pair in findings["pairs"]:
        teams.setdefault(pair["first"], [pair["first"]]).append(pair["second"])
    known = {name for team in teams.values() for name in team}
    return [*teams.values(), *([name] for name in findings["contestants"] if name not in known)]


def grid(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for spare in axes[count:]:
        spare.remove()
    for each in axes[:count]:
        each.grid(alpha=0.25)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def style_number(findings: dict[str, Any], contestant: str) -> int:
    """Number of an agent's colour and mark: its index in the first team that it is in."""
    return next(team.index(contestant) for team in teams_of(findings) if contestant in team)


def fill(axes: Axes, x: np.ndarray, curve: Band, number: int) -> None:
    """Draw the interval around a curve, where there is one."""
    if curve.low is not None and curve.high is not None:
        axes.fill_between(
            x, curve.low, curve.high, color=COLORS[number % len(COLORS)], alpha=0.18, linewidth=0
        )
