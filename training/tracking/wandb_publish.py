"""Weights & Biases: findings that are put into a run of their own at once."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .progress import say
from .tracker import first_line
from .wandb_tracker import finish_wandb, start_wandb, wandb_project


@dataclass(frozen=True)
class Publication:
    """Findings that are put into a W&B run of their own, all at once."""

    kind: str
    """The run's job type."""
    name: str
    text: list[str]
    """Markdown: the blocks of a Report."""
    config: dict[str, Any]
    summary: dict[str, float | str]
    tables: dict[str, tuple[list[str], list[list[Any]]]]
    """Header and rows, by title."""
    curves: dict[str, dict[str, tuple[list[float], list[float]]]]
    """Steps and values, by chart and by line in it."""
    pictures: list[Path]
    files: list[Path]
    """What else is kept, as one artifact."""


def publish(publication: Publication, folder: Path) -> None:
    """Put findings into a new W&B run, whose files lie in a folder, and into a Report where there is a network.

    Like all of W&B it may fail: a warning says so.
    """
    try:
        run = start_wandb(
            project=wandb_project(),
            job_type=publication.kind,
            name=publication.name,
            tags=[publication.kind, f"v{version('palaestra')}"],
            config=publication.config,
            dir=str(folder),
        )
        fill(run, publication)
        finish_wandb(run)
        if not (run.offline or run.disabled):
            write_report(run, publication)
    except Exception as error:
        say(f"warning: W&B failed, {folder} has everything: {first_line(error)}")


def fill(run: Any, publication: Publication) -> None:
    """Log curves, as history and as one chart for all lines that belong together; then tables, pictures and files."""
    import wandb

    for chart, lines in publication.curves.items():
        for line, (steps, values) in lines.items():
            for step, value in zip(steps, values, strict=True):
                run.log({"step": step, f"{chart}/{line}": value})
    charts = {
        f"charts/{chart}": wandb.plot.line_series(
            [steps for steps, _ in lines.values()],
            [values for _, values in lines.values()],
            keys=list(lines),
            title=chart,
            xname="step",
        )
        for chart, lines in publication.curves.items()
    }
    tables = {
        f"tables/{title}": wandb.Table(columns=list[str | int](header), data=rows)
        for title, (header, rows) in publication.tables.items()
    }
    pictures = {f"pictures/{path.stem}": wandb.Image(str(path)) for path in publication.pictures}
    run.log({**charts, **tables, **pictures})
    run.summary.update(publication.summary)
    artifact = wandb.Artifact(f"{publication.kind}-{run.id}", type=publication.kind)
    for path in [*publication.files, *publication.pictures]:
        artifact.add_file(str(path))
    run.log_artifact(artifact)


def write_report(run: Any, publication: Publication) -> None:
    """Write a W&B Report about a run that `fill` has filled, and say where it is."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        say("no W&B Report: pip install 'palaestra[reports]'")
        return
    import wandb_workspaces.reports.v2 as reports

    panels: list[Any] = [
        reports.LinePlot(title=chart, x="step", y=[f"{chart}/{line}" for line in lines])
        for chart, lines in publication.curves.items()
    ]
    runs = reports.Runset(entity=run.entity, project=run.project, filters=f"Name == '{run.id}'")
    blocks: list[Any] = [reports.MarkdownBlock(text=text) for text in publication.text]
    blocks.append(reports.PanelGrid(runsets=[runs], panels=panels))
    report = reports.Report(entity=run.entity, project=run.project, title=publication.name, blocks=blocks)
    report.save()
    say(f"W&B Report: {report.url}")
