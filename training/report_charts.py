"""Charts of a comparison, one a question, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .statistics import mean_interval, performance_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, yellow left out; and marks, so that colour is not all that tells agents apart.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
MARKS = ["o", "s", "^", "D", "v", "P", "X", "*"]
# Columns of a grid of environments.
COLUMNS = 3


def draw_charts(comparison: dict[str, Any], out: Path) -> dict[str, Path]:
    """Draw every chart that there is something for into `out`; returns their files by name."""
    charts: dict[str, Callable[[dict[str, Any]], Figure | None]] = {
        "improvement": improvement,
        "returns": returns,
        "curves_steps": lambda c: learning_curves(c, "steps"),
        "curves_time": lambda c: learning_curves(c, "seconds"),
        "profile": profile,
    }
    files = {}
    for name, draw in charts.items():
        figure = draw(comparison)
        if figure is not None:
            files[name] = out / f"{name}.png"
            figure.savefig(files[name], dpi=130)
    return files


def look_of(comparison: dict[str, Any], contestant: str) -> tuple[str, str]:
    """Colour and mark of an agent, the same in every chart."""
    place = comparison["contestants"].index(contestant)
    return COLORS[place % len(COLORS)], MARKS[place % len(MARKS)]


def _grid(count: int, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(max(4.2 * columns, 6), height * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for spare in axes[count:]:
        spare.remove()
    for each in axes[:count]:
        each.grid(alpha=0.3)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def improvement(comparison: dict[str, Any]) -> Figure | None:
    """Probabilities of improvement: over all environments, and in each."""
    rows: list[tuple[str, list[float], bool]] = []
    for pair in comparison["pairs"]:
        rows.append((f"{pair['first']} against {pair['second']}", pair["probability"], True))
        if len(pair["environments"]) > 1:
            rows += [(env, result["probability"], False) for env, result in pair["environments"].items()]
    if not rows:
        return None
    figure, (axes,) = _grid(1, 0.32 * len(rows) + 0.8)
    figure.set_figwidth(8)
    axes.axvline(0.5, color="#666666", linewidth=1)
    for place, (_, (value, low, high), whole) in enumerate(rows):
        color = COLORS[0] if low > 0.5 else COLORS[1] if high < 0.5 else "#777777"
        axes.plot([low, high], [place, place], color=color, linewidth=5 if whole else 2.5, alpha=0.6)
        axes.plot(value, place, MARKS[1] if whole else MARKS[0], color=color, markersize=8 if whole else 5)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    for label, (_, _, whole) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if whole else "normal")
    axes.invert_yaxis()
    axes.set(
        xlim=(-0.02, 1.02), xlabel="second is better        probability of improvement        first is better"
    )
    return figure


def returns(comparison: dict[str, Any]) -> Figure:
    """Final scores of all runs, by environment."""
    environments = comparison["environments"]
    most = max(sum(row["environment"] == env for row in comparison["table"]) for env in environments)
    figure, grid = _grid(len(environments), 0.3 * most + 1.0)
    for axes, env in zip(grid, environments, strict=True):
        rows = [row for row in comparison["table"] if row["environment"] == env]
        for place, row in enumerate(rows):
            color, mark = look_of(comparison, row["contestant"])
            value, low, high = row["mean"]
            axes.plot(row["runs"], np.full(len(row["runs"]), place), ".", color=color, alpha=0.5)
            axes.plot([low, high], [place, place], color=color, linewidth=4, alpha=0.5)
            axes.plot(value, place, mark, color=color, markersize=7)
        axes.set_yticks(range(len(rows)), [row["contestant"] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set(title=env, xlabel="return")
    return figure


def learning_curves(comparison: dict[str, Any], unit: str) -> Figure:
    """Returns of evaluations during training against steps or seconds, by environment."""
    environments = comparison["environments"]
    figure, grid = _grid(len(environments), 2.8)
    clocks = comparison["timing"]["curve_seconds"]
    for axes, env in zip(grid, environments, strict=True):
        for contestant in comparison["contestants"]:
            mine = [
                (clock if unit == "seconds" else curve["steps"], curve["returns"])
                for curve, clock in zip(comparison["curves"], clocks, strict=True)
                if curve["environment"] == env and curve["contestant"] == contestant
            ]
            if mine:
                _curve(axes, mine, look_of(comparison, contestant), contestant)
        axes.set(title=env, xlabel="seconds" if unit == "seconds" else "environment steps", ylabel="return")
        if unit == "steps":
            axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}")
        axes.legend(frameon=False, fontsize=8)
    return figure


def _curve(
    axes: Axes, runs: list[tuple[list[float], list[float]]], look: tuple[str, str], label: str
) -> None:
    """Mean and interval of some runs, whose evaluations need not be at the same places."""
    length = min(len(values) for _, values in runs)
    x = np.mean([clock[:length] for clock, _ in runs], axis=0)
    values = np.array([each[:length] for _, each in runs])
    estimates = np.array([mean_interval(column) for column in values.T])
    color, mark = look
    axes.plot(x, estimates[:, 0], color=color, marker=mark, markersize=4, linewidth=1.6, label=label)
    axes.fill_between(x, estimates[:, 1], estimates[:, 2], color=color, alpha=0.15, linewidth=0)


def profile(comparison: dict[str, Any]) -> Figure | None:
    """Performance profiles of all agents with normalised scores."""
    scores = {contestant: by_env for contestant, by_env in comparison["normalized"].items() if by_env}
    if not scores:
        return None
    figure, (axes,) = _grid(1, 3.4)
    figure.set_figwidth(7)
    thresholds = np.linspace(0, 1.1, 111)
    for contestant, by_env in scores.items():
        color, mark = look_of(comparison, contestant)
        runs = {env: np.array(values) for env, values in by_env.items()}
        value, low, high = performance_profile(runs, thresholds)
        axes.plot(thresholds, value, color=color, marker=mark, markevery=15, markersize=5, label=contestant)
        axes.fill_between(thresholds, low, high, color=color, alpha=0.12, linewidth=0)
    axes.set(xlabel="normalised score", ylabel="share of runs above it", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, fontsize=8)
    return figure
