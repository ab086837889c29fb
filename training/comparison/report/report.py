"""A comparison for readers: one HTML file that needs no other, Markdown, JSON, CSV and a PNG a chart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .charts import Chart, draw_charts
from .csv_files import write_csvs
from .html import html_page
from .tables import Table, markdown_table, meetings_table, tables
from .text import commands, headline, made


@dataclass(frozen=True)
class Written:
    """What a report consists of."""

    page: Path
    pictures: list[Path]
    files: list[Path]
    """All others."""


def write_report(findings: dict[str, Any], out: Path) -> Written:
    """Write `report.html`, `report.md`, `comparison.json`, CSV files and pictures."""
    (out / "comparison.json").write_text(json.dumps(findings, indent=1) + "\n", encoding="utf-8")
    tables_written = write_csvs(findings, out)
    charts = draw_charts(findings, out)
    sentences, found = headline(findings), tables(findings)
    (out / "report.md").write_text(markdown(findings, sentences, charts, found), encoding="utf-8")
    path = out / "report.html"
    path.write_text(
        html_page(findings, sentences, charts, found, made(findings), commands(findings)), encoding="utf-8"
    )
    others = [path, out / "report.md", out / "comparison.json", *tables_written]
    return Written(path, [file for chart in charts for file in chart.files], others)


def markdown(
    findings: dict[str, Any], sentences: list[tuple[str, str]], charts: list[Chart], found: dict[str, Table]
) -> str:
    """The report in Markdown."""
    lines = [f"# {findings['name']}", "", *(f"- {line}" for _, line in sentences), ""]
    lines += [f"> {note}\n" for note in findings["notes"]]
    for pair in findings["pairs"]:
        header, rows = meetings_table(findings, pair)
        lines += [f"## {pair['first']} against {pair['second']}", "", *markdown_table(header, rows), ""]
    for chart in charts:
        lines += [f"## {chart.question}", "", chart.caption, ""]
        lines += [f"![{chart.question}]({path.name})" for path in chart.files] + [""]
    for title, (header, rows) in found.items():
        lines += [f"## {title}", "", *markdown_table(header, rows), ""]
    lines += ["## How it was made", "", *(f"- {line}" for line in made(findings)), ""]
    return "\n".join([*lines, "```", *commands(findings), "```"]) + "\n"
