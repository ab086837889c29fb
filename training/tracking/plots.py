"""Pictures of a run. Matplotlib is imported where it is used, because that takes half a second."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...envs.outside import short_name
from ..settings.config import load_plain_config
from .metrics_file import read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, VERMILION = "#0072B2", "#D55E00"


def plot_learning_curve(run_dir: Path) -> Path:
    """Draw a run's returns from its metrics file to `learning_curve.png`, and return that path."""
    config = load_plain_config(run_dir)
    title = f"{short_name(config.agent)} on {short_name(config.env)}, seed {config.seed}"
    path = run_dir / "learning_curve.png"
    learning_curve(read_metrics(run_dir), title).savefig(path, dpi=150)
    return path


def learning_curve(rows: list[dict[str, float]], title: str) -> Figure:
    """Draw training and evaluation returns against environment steps.

    A training point is the mean of the episodes that ended since the one before it; the bars of an evaluation
    are one standard deviation of its episodes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    training = [row for row in rows if "episode/return" in row]
    if training:
        steps, returns = columns(training, "step", "episode/return")
        axes.plot(steps, returns, color=BLUE, linewidth=1, alpha=0.8, label="training")
    evaluations = [row for row in rows if {"eval/return", "eval/return_std"} <= row.keys()]
    if evaluations:
        steps, returns, spread = columns(evaluations, "step", "eval/return", "eval/return_std")
        axes.errorbar(
            steps,
            returns,
            spread,
            color=VERMILION,
            linewidth=2,
            marker="o",
            elinewidth=1,
            capsize=3,
            label="evaluation",
        )
    axes.set(title=title, xlabel="environment steps", ylabel="episode return")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if training or evaluations:
        axes.legend(frameon=False)
    return figure


def columns(rows: list[dict[str, float]], *names: str) -> list[list[float]]:
    """Return the values of the rows under each name."""
    return [[row[name] for row in rows] for name in names]
