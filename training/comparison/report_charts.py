"""Charts of a comparison, one a question, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .statistics import RUNS_FOR_INTERVAL, Band, mean_curve, performance_profile
from .suites import slug

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
            "mark at the right: under half of the runs get there.",
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
            f"The same evaluations against seconds of training on this machine. {band}",
            ((f"curves_time_{slug(team[0])}", learning_curves(findings, team, "seconds")) for team in teams),
        ),
        (
            "How many seconds until it is learned?",
            "Seconds of training until an evaluation first reaches a normalised score of 0.9, median over runs.",
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


# -- Who is better --------------------------------------------------------------------------------------------------


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
    places = np.cumsum([0.0] + [1.5 if level < 2 else 1.0 for _, _, level in rows[1:]])
    for place, (_, row, level) in zip(places, rows, strict=True):
        value, low, high = row["probability"]
        color, size = VERDICT_COLORS[row["verdict"]], (10, 8, 6)[level]
        if low is not None:
            axes.plot(
                [low, high],
                [place, place],
                color=color,
                linewidth=size / 2,
                alpha=0.5,
                solid_capstyle="round",
            )
        axes.plot(value, place, "D" if level == 0 else "o", color=color, markersize=size)
        text = f"{value:.2f}  {row['verdict']}"
        axes.text(1.05, place, text, color=color, va="center", fontweight="bold" if level < 2 else "normal")
    axes.set_yticks(places, [("    " if level == 2 else "") + name for name, _, level in rows])
    for label, (_, _, level) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if level < 2 else "normal")
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.set(xlim=(-0.02, 1.02), xlabel="probability of improvement")
    axes.text(0.0, -0.9, "second is better", color=VERDICT_COLORS["worse"], va="bottom")
    axes.text(1.0, -0.9, "first is better", color=VERDICT_COLORS["better"], va="bottom", ha="right")
    return figure


def look_of(findings: dict[str, Any], contestant: str) -> int:
    """Number of an agent's colour and mark: its place in the first team that it is in."""
    return next(team.index(contestant) for team in teams_of(findings) if contestant in team)


def returns(findings: dict[str, Any]) -> Figure:
    """Final scores of all runs, by environment."""
    environments = findings["environments"]
    most = max(sum(row["environment"] == env for row in findings["table"]) for env in environments)
    figure, panels = grid(len(environments), 4.2 if len(environments) > 1 else 7, 0.3 * most + 1.1)
    for axes, env in zip(panels, environments, strict=True):
        rows = [row for row in findings["table"] if row["environment"] == env]
        for place, row in enumerate(rows):
            number = look_of(findings, row["contestant"]) % len(COLORS)
            value, low, high = row["mean"]
            spread = place + np.linspace(-0.22, 0.22, len(row["runs"])) if len(row["runs"]) > 1 else [place]
            axes.plot(row["runs"], spread, ".", color=COLORS[number], alpha=0.45, markersize=5)
            if low is not None:
                axes.plot([low, high], [place, place], color=COLORS[number], linewidth=3, alpha=0.6)
            axes.plot(
                value, place, MARKS[number], color=COLORS[number], markersize=8, markeredgecolor="white"
            )
        axes.set_yticks(range(len(rows)), [f"{row['contestant']} ({short(row['steps'])})" for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set(title=env, xlabel="return")
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.locator_params(axis="x", nbins=5)
    return figure


def short(steps: float) -> str:
    """Steps as people write them: 500, 20k, 1M."""
    return f"{steps / 1e6:.4g}M" if steps >= 1e6 else f"{steps / 1e3:.4g}k" if steps >= 1e3 else f"{steps:g}"


# -- How fast -------------------------------------------------------------------------------------------------------


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


def fill(axes: Axes, x: np.ndarray, curve: Band, number: int) -> None:
    """Draw the interval around a curve, where there is one."""
    if curve.low is not None and curve.high is not None:
        axes.fill_between(
            x, curve.low, curve.high, color=COLORS[number % len(COLORS)], alpha=0.18, linewidth=0
        )


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
    for place, (env, team) in enumerate(rows):
        known = [value for name in team if (value := when[env, name])]
        if len(known) > 1:
            axes.plot([min(known), max(known)], [place, place], color="#C4C4C4", linewidth=2, zorder=1)
        for number, (name, height) in enumerate(zip(team, spread(place, len(team)), strict=True)):
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


def spread(place: float, count: int, width: float = 0.3) -> np.ndarray:
    """Heights around a line for marks that would hide each other."""
    return place + (np.linspace(-width / 2, width / 2, count) if count > 1 else np.zeros(1))


# -- How reliable ---------------------------------------------------------------------------------------------------


def profiles(findings: dict[str, Any], teams: list[list[str]]) -> Figure | None:
    """Performance profiles: of all, and of each team in the environments of all its agents."""
    panels: list[tuple[str, dict[str, dict[str, list[float]]]]] = []
    if findings["overall"]:
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
