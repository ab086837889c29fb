"""A comparison for readers: one HTML file that needs no other, Markdown, CSV, JSON and PNGs."""

from __future__ import annotations

import base64
import csv
import html
import json
from pathlib import Path
from typing import Any

from .report_charts import draw_charts

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #eee; }
th { border-bottom: 2px solid #999; } td.number { text-align: right; } img { max-width: 100%; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: 13px; }
.note { background: #fff6e0; border-left: 4px solid #e69f00; padding: .5rem .8rem; margin: .5rem 0; }
.better { color: #0072b2; font-weight: 600; } .worse { color: #d55e00; font-weight: 600; } .tie { color: #666; }
"""

# What each chart shows, in the order of the questions that a reader has.
CAPTIONS = {
    "improvement": (
        "Who is better?",
        "Probability that a run of the first agent beats one of the second, ties counted half, averaged over "
        "environments, with its 95 % interval. Right of the line the first is better; an "
        "interval that holds 0.5 is a tie.",
    ),
    "returns": (
        "How good is each?",
        "Mean return of the final evaluations; a small dot is a run, the bar a 95 % bootstrap interval over runs.",
    ),
    "curves_steps": (
        "Who needs fewer steps?",
        "Evaluations during training against environment steps: mean over runs, band: 95 % interval.",
    ),
    "curves_time": (
        "Who needs less time?",
        "The same against seconds of training; other work on the machine makes them longer.",
    ),
    "profile": (
        "How often is each how good?",
        "Share of runs above a normalised score (0 random, 1 reference); higher is better. Bands: 95 % intervals.",
    ),
}


def write_report(comparison: dict[str, Any], out: Path) -> Path:
    """Write `report.html`, `report.md`, `comparison.json`, `scores.csv` and a PNG a chart; returns the HTML file."""
    (out / "comparison.json").write_text(json.dumps(comparison, indent=1) + "\n")
    write_scores(comparison, out / "scores.csv")
    charts = draw_charts(comparison, out)
    (out / "report.md").write_text(markdown(comparison, charts), encoding="utf-8")
    path = out / "report.html"
    path.write_text(page(comparison, charts), encoding="utf-8")
    return path


def write_scores(comparison: dict[str, Any], path: Path) -> None:
    """One row a run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["environment", "contestant", "steps", "run", "return"])
        for row in comparison["table"]:
            for index, value in enumerate(row["runs"]):
                writer.writerow([row["environment"], row["contestant"], row["steps"], index, value])


def headline(comparison: dict[str, Any]) -> list[str]:
    """The result in plain words, a sentence a pair of agents."""
    words = {"better": "is better than", "worse": "is worse than", "tie": "and"}
    lines = []
    for pair in comparison["pairs"]:
        value, low, high = pair["probability"]
        tail = "" if pair["verdict"] != "tie" else " cannot be told apart"
        lines.append(
            f"{pair['first']} {words[pair['verdict']]} {pair['second']}{tail}: probability of improvement {value:.2f} "
            f"[{low:.2f}, {high:.2f}] over {len(pair['environments'])} environment"
            f"{'s' * (len(pair['environments']) > 1)}"
        )
    return lines


Table = tuple[list[str], list[list[str]]]


def tables(comparison: dict[str, Any]) -> dict[str, Table]:
    """Every table as header and rows of text."""
    found = {"Returns": _returns(comparison)}
    if comparison["pairs"]:
        found["Pairs by environment"] = _pairs(comparison)
    if comparison["aggregates"]:
        found["Over all environments, normalised"] = _aggregates(comparison)
    if comparison["efficiency"]:
        found["Steps until an evaluation reaches 0.9"] = _efficiency(comparison)
    return found


def _returns(comparison: dict[str, Any]) -> Table:
    header = ["environment", "agent", "steps", "runs", "mean return", "95 % interval"]
    rows = []
    for row in comparison["table"]:
        value, low, high = row["mean"]
        rows.append(
            [
                row["environment"],
                row["contestant"],
                f"{row['steps']:,}",
                str(row["seeds"]),
                f"{value:.1f}",
                f"[{low:.1f}, {high:.1f}]",
            ]
        )
    return header, rows


def _pairs(comparison: dict[str, Any]) -> Table:
    header = ["environment", "first", "second", "P(first beats second)", "95 % interval", "first is"]
    rows = []
    for pair in comparison["pairs"]:
        for env, result in pair["environments"].items():
            value, low, high = result["probability"]
            rows.append(
                [
                    env,
                    pair["first"],
                    pair["second"],
                    f"{value:.2f}",
                    f"[{low:.2f}, {high:.2f}]",
                    result["verdict"],
                ]
            )
    return header, rows


def _aggregates(comparison: dict[str, Any]) -> Table:
    titles = list(next(iter(comparison["aggregates"].values())))
    rows = [
        [contestant, *(f"{values[t][0]:.2f} [{values[t][1]:.2f}, {values[t][2]:.2f}]" for t in titles)]
        for contestant, values in comparison["aggregates"].items()
    ]
    return ["agent", *titles], rows


def _efficiency(comparison: dict[str, Any]) -> Table:
    seconds = {
        (row["environment"], row["contestant"]): row["seconds"] for row in comparison["timing"]["efficiency"]
    }
    rows = []
    for row in comparison["efficiency"]:
        time = seconds[row["environment"], row["contestant"]]
        rows.append(
            [
                row["environment"],
                row["contestant"],
                f"{row['reached']} of {row['seeds']}",
                "-" if row["steps"] is None else f"{row['steps']:,.0f}",
                "-" if time is None else f"{time:.0f}",
            ]
        )
    return ["environment", "agent", "runs that do", "steps (median)", "seconds (median)"], rows


def markdown(comparison: dict[str, Any], charts: dict[str, Path]) -> str:
    """The report in Markdown."""
    lines = [f"# {comparison['name']}", "", *(f"- {line}" for line in headline(comparison)), ""]
    lines += [f"> {note}\n" for note in comparison["notes"]]
    for name, path in charts.items():
        title, caption = CAPTIONS[name]
        lines += [f"## {title}", "", f"![{title}]({path.name})", "", caption, ""]
    for title, (header, rows) in tables(comparison).items():
        lines += [f"## {title}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    lines += [
        "## How it was made",
        "",
        how_it_was_made(comparison),
        "",
        "```",
        *comparison["commands"],
        "```",
    ]
    return "\n".join(lines) + "\n"


def how_it_was_made(comparison: dict[str, Any]) -> str:
    """Episodes, versions and machine in one paragraph."""
    versions = ", ".join(f"{name} {number}" for name, number in comparison["versions"].items())
    machine = ", ".join(f"{name}: {value}" for name, value in comparison["timing"]["machine"].items())
    return (
        f"A run's score is its mean return over {comparison['episodes']} full evaluation episodes after training, with "
        f"the best actions and seeds that training never used. Runs have seeds 0, 1, ...; the commands are "
        f"those of the first. Intervals come from 10,000 bootstrap samples of runs within each environment. "
        f"Versions: {versions}. Machine: {machine}."
    )


def page(comparison: dict[str, Any], charts: dict[str, Path]) -> str:
    """The report in one HTML file, pictures included."""
    body = [f"<h1>{html.escape(comparison['name'])}</h1><ul>"]
    for pair, line in zip(comparison["pairs"], headline(comparison), strict=True):
        body.append(f'<li class="{pair["verdict"]}">{html.escape(line)}</li>')
    body.append("</ul>")
    body += [f'<p class="note">{html.escape(note)}</p>' for note in comparison["notes"]]
    for name, path in charts.items():
        title, caption = CAPTIONS[name]
        picture = base64.b64encode(path.read_bytes()).decode()
        body.append(
            f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{picture}"><p>{html.escape(caption)}</p>'
        )
    for title, (header, rows) in tables(comparison).items():
        body.append(f"<h2>{title}</h2><table><tr>{''.join(f'<th>{cell}</th>' for cell in header)}</tr>")
        body += [f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows]
        body.append("</table>")
    command_lines = html.escape("\n".join(comparison["commands"]))
    body.append(f"<h2>How it was made</h2><p>{html.escape(how_it_was_made(comparison))}</p>")
    body.append(f"<pre>{command_lines}</pre>")
    head = f'<meta charset="utf-8"><title>{html.escape(comparison["name"])}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _cell(text: str) -> str:
    if text in ("better", "worse", "tie"):
        return f'<td class="{text}">{text}</td>'
    number = text.replace(",", "").replace(".", "").replace("-", "").isdigit()
    return f'<td class="number">{text}</td>' if number else f"<td>{html.escape(text)}</td>"


def summary(comparison: dict[str, Any], path: Path) -> str:
    """What the command prints at its end: the returns, the verdicts, and where the report lies."""
    header, rows = _returns(comparison)
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join(
        [*lines, "", *headline(comparison), *(f"note: {n}" for n in comparison["notes"]), f"report: {path}"]
    )
