"""Charts of what agents have reached: who is better, how good each is, how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import performance_profile
from .chart_style import COLORS, LINES, MARKS, VERDICT_COLORS, fill, grid, style_number
from .tables import short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def improvement(findings: dict[str, Any]) -> Figure | None:
    """Probabilities of improvement: of all, of each pair, and of each pair in each environment."""
    rows: list[tuple[str, dict[str, Any], int]] = []
    if findings["overall"]:
        rows.append(
            (
                f"{findings['overall']['first']} against {findings['overall']['second']}",
                findings["overall"],
                0,
            )
        )
    for pair in findings["pairs"]:
        rows.append((f"{pair['first']} against {pair['second']}", pair, 1))
        if len(pair["environments"]) > 1:
            rows += [(row["environment"], row, 2) for row in pair["environments"]]
    if not rows:
        return None
    figure, (axes,) = grid(1, 9, 0.29 * len(rows) + 1.3)
    axes.axvline(0.5, color="#444444", linewidth=1)
    positions = np.cumsum([0.0] + [1.5 if level < 2 else 1.0 for _, _, level in rows[1:]])
    for position, (_, row, level) in zip(positions, rows, strict=True):
        value, low, high = row["probability"]
        color, size = VERDICT_COLORS[row["verdict"]], (10, 8, 6)[level]
        if low is not None:
            axes.plot(
                [low, high],
                [position, position],
                color=color,
                linewidth=size / 2,
                alpha=0.5,
                solid_capstyle="round",
            )
        axes.plot(value, position, "D" if level == 0 else "o", color=color, markersize=size)
        text = f"{value:.2f}  {row['verdict']}"
        axes.text(
            1.05, position, text, color=color, va="center", fontweight="bold" if level < 2 else "normal"
        )
    axes.set_yticks(positions, [("    " if level == 2 else "") + name for name, _, level in rows])
    for label, (_, _, level) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if level < 2 else "normal")
    axes.set_ylim(positions[-1] + 0.7, -0.7)
    axes.set(xlim=(-0.02, 1.02), xlabel="probability of improvement")
    axes.text(0.0, -0.9, "second is better", color=VERDICT_COLORS["worse"], va="bottom")
    axes.text(1.0, -0.9, "first is better", color=VERDICT_COLORS["better"], va="bottom", ha="right")
    return figure


def returns(findings: dict[str, Any]) -> Figure:
    """Final scores of all runs, by environment."""
    environments = findings["environments"]
    most = max(sum(row["environment"] == env for row in findings["table"]) for env in environments)
    figure, panels = grid(len(environments), 4.2 if len(environments) > 1 else 7, 0.3 * most + 1.1)
    for axes, env in zip(panels, environments, strict=True):
        rows = [row for row in findings["table"] if row["environment"] == env]
        for position, row in enumerate(rows):
            number = style_number(findings, row["contestant"]) % len(COLORS)
            value, low, high = row["mean"]
            spread = (
                position + np.linspace(-0.22, 0.22, len(row["runs"])) if len(row["runs"]) > 1 else [position]
            )
            axes.plot(row["runs"], spread, ".", color=COLORS[number], alpha=0.45, markersize=5)
            if low is not None:
                axes.plot([low, high], [position, position], color=COLORS[number], linewidth=3, alpha=0.6)
            axes.plot(
                value, position, MARKS[number], color=COLORS[number], markersize=8, markeredgecolor="white"
            )
        axes.set_yticks(range(len(rows)), [f"{row['contestant']} ({short(row['steps'])})" for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set(title=env, xlabel="return")
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.locator_params(axis="x", nbins=5)
    return figure


def profiles(findings: dict[str, Any], teams: list[list[str]]) -> Figure | None:
    """Performance profiles: of all, and of each team in the environments of all its agents."""
    panels: list[tuple[str, dict[str, dict[str, list[float]]]]] = []
    # Environments without reference scores have none to draw.
    if findings["overall"] and any(findings["overall"]["normalized"]):
        names = (findings["overall"]["first"], findings["overall"]["second"])
        panels.append(("all meetings", dict(zip(names, findings["overall"]["normalized"], strict=True))))
    for team in teams:
        scores = {name: findings["normalized"][name] for name in team}
        common = set.intersection(*(set(by_env) for by_env in scores.values()))
        if common:
            title = team[0] if len(teams) > 1 else ""
            panels.append((title, {n: {env: s[env] for env in sorted(common)} for n, s in scores.items()}))
    if not panels:
        return None
    figure, grid_axes = grid(len(panels), 4.2 if len(panels) > 1 else 7, 3.2)
    thresholds = np.linspace(0, 1.1, 111)
    for axes, (title, by_name) in zip(grid_axes, panels, strict=True):
        for number, (name, by_env) in enumerate(by_name.items()):
            curve = performance_profile({env: np.array(x) for env, x in by_env.items()}, thresholds)
            color, line = COLORS[number % len(COLORS)], LINES[number % len(LINES)]
            axes.plot(thresholds, curve.value, linewidth=1.8, label=name, color=color, linestyle=line)
            fill(axes, thresholds, curve, number)
        axes.set(title=title, xlabel="normalised score", ylabel="share of runs above it", ylim=(-0.02, 1.04))
        axes.legend(frameon=False, loc="lower left")
    return figure
