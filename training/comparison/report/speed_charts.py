"""Charts of how fast agents learn: curves, and when each environment is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import RUNS_FOR_INTERVAL, mean_curve
from .chart_style import COLORS, GREY, LINES, MARKS, fill, grid, teams_of
from .tables import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_curves(findings: dict[str, Any], team: list[str], unit: str) -> Figure:
    """Evaluations during training of the agents of a team against steps or seconds, by environment."""
    environments = [
        env
        for env in findings["environments"]
        if any(row["environment"] == env and row["contestant"] == team[0] for row in findings["table"])
    ]
    figure, panels = grid(len(environments), 4.2 if len(environments) > 1 else 7, 3.0)
    clocks = findings["timing"]["curve_seconds"]
    for axes, env in zip(panels, environments, strict=True):
        for number, contestant in enumerate(team):
            mine = [
                (clock if unit == "seconds" else curve["steps"], curve["returns"])
                for curve, clock in zip(findings["curves"], clocks, strict=True)
                if curve["environment"] == env and curve["contestant"] == contestant
            ]
            if mine:
                draw_curve(axes, mine, number, contestant)
        axes.set(title=env, xlabel="seconds" if unit == "seconds" else "environment steps", ylabel="return")
        axes.set_xlim(left=0)
        if unit == "steps":
            axes.xaxis.set_major_formatter(lambda x, _: short(x))
        axes.locator_params(axis="x", nbins=6)
    panels[0].legend(frameon=False)
    return figure


def draw_curve(axes: Axes, runs: list[tuple[list[float], list[float]]], number: int, label: str) -> None:
    """Mean and interval of some runs' evaluations; thin lines for runs where there are too few for an interval."""
    length = min(len(values) for _, values in runs)
    x = np.mean([clock[:length] for clock, _ in runs], axis=0)
    curve = mean_curve(np.array([values[:length] for _, values in runs]))
    color = COLORS[number % len(COLORS)]
    axes.plot(
        x,
        curve.value,
        linestyle=LINES[number % len(LINES)],
        markersize=4,
        linewidth=1.8,
        label=label,
        color=color,
        marker=MARKS[number % len(MARKS)],
    )
    fill(axes, x, curve, number)
    if 1 < len(runs) < RUNS_FOR_INTERVAL:
        for clock, values in runs:
            axes.plot(clock, values, color=color, linewidth=0.7, alpha=0.6)


def efficiency(findings: dict[str, Any], unit: str) -> Figure | None:
    """When each agent has learned each environment, those that meet in one line."""
    source = findings["efficiency"] if unit == "steps" else findings["timing"]["efficiency"]
    when = {(row["environment"], row["contestant"]): row["median"] for row in source}
    teams = teams_of(findings)
    rows = [
        (env, [name for name in team if (env, name) in when])
        for team in teams
        for env in findings["environments"]
        if (env, team[0]) in when
    ]
    reached = [value for value in when.values() if value]
    if not reached:
        return None
    figure, (axes,) = grid(1, 9, 0.34 * len(rows) + 1.4)
    never = max(reached) * 2.5
    for position, (env, team) in enumerate(rows):
        known = [value for name in team if (value := when[env, name])]
        if len(known) > 1:
            axes.plot([min(known), max(known)], [position, position], color="#C4C4C4", linewidth=2, zorder=1)
        for number, (name, height) in enumerate(zip(team, spread(position, len(team)), strict=True)):
            value, color = when[env, name], COLORS[number % len(COLORS)]
            face = color if value else "white"
            axes.plot(
                value or never,
                height,
                MARKS[number % len(MARKS)],
                markersize=8,
                markerfacecolor=face,
                markeredgecolor=color,
            )
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [f"{env}   {team[0]}" if len(teams) > 1 else env for env, team in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    some_never = any(when[env, name] is None for env, team in rows for name in team)
    if some_never:
        axes.axvspan(never / 1.4, never * 1.4, color="#F0F0F0", zorder=0)
        axes.text(never, -0.65, "not reached", ha="center", va="bottom", color=GREY, fontsize=9)
    axes.set_xlim(right=never * 1.4 if some_never else None)
    axes.set(xlabel="environment steps" if unit == "steps" else "seconds of training")
    axes.xaxis.set_major_formatter(
        lambda x, _: (short(x) if unit == "steps" else f"{x:g}") if x < never / 1.4 else ""
    )
    names = ["first of each pair", "second"] if len(teams) > 1 else teams[0]
    for number, name in enumerate(names):
        axes.plot(
            [], [], MARKS[number % len(MARKS)], color=COLORS[number % len(COLORS)], label=name, markersize=8
        )
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names))
    return figure


def spread(position: float, count: int, width: float = 0.3) -> np.ndarray:
    """Heights around a line for marks that would hide each other."""
    return position + (np.linspace(-width / 2, width / 2, count) if count > 1 else np.zeros(1))
