"""The HTML page of a comparison: no script, no other file, nothing from the network."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

from ...tracking.return_text import return_digits
from .chart_style import VERDICT_COLORS
from .charts import Chart
from .tables import Table, short

STYLE = """
:root { --ink: #1f2328; --soft: #59636e; --line: #d9dee3; --better: #0072b2; --worse: #d55e00; --tie: #667; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 64rem; margin: 2.5rem auto 5rem; padding: 0 1.2rem;
  color: var(--ink); }
h1 { font-size: 1.9rem; margin: 0 0 .2rem; line-height: 1.2; }
h2 { font-size: 1.25rem; margin: 3rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.8rem 0 .3rem; }
.facts, .caption { color: var(--soft); margin: .2rem 0 .8rem; }
.headline { border-left: 5px solid var(--tie); padding: .35rem .9rem; margin: .5rem 0; }
.headline.first { font-size: 1.15rem; background: #f5f7f9; padding: .8rem 1rem; }
.headline.better { border-color: var(--better); } .headline.worse { border-color: var(--worse); }
.note { background: #fff6e0; border-left: 5px solid #e69f00; padding: .5rem .9rem; margin: .6rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { text-align: left; padding: .32rem .7rem .32rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
td small { color: var(--soft); } td strong { font-weight: 650; }
.chip.better { color: var(--better); } .chip.worse { color: var(--worse); } .chip { color: var(--tie); }
.chip { font-weight: 650; white-space: nowrap; }
.scroll { overflow-x: auto; } img { max-width: 100%; display: block; margin: .4rem 0; }
pre { background: #f5f7f9; padding: .9rem; overflow-x: auto; font-size: .8rem; line-height: 1.5; }
summary { cursor: pointer; color: var(--soft); } ul { padding-left: 1.2rem; }
@media print { details > * { display: block; } h2 { break-after: avoid; } img, table { break-inside: avoid; } }
"""
# Marks next to the words, so that colour is not all that tells verdicts apart.
VERDICT_MARKS = {"better": "▲ better", "worse": "▼ worse", "tie": "= tie", "too few runs": "? too few runs"}


def html_page(
    findings: dict[str, Any],
    sentences: list[tuple[str, str]],
    charts: list[Chart],
    tables: dict[str, Table],
    made: list[str],
    commands: list[str],
) -> str:
    """Return the page.

    Args:
        findings: what the runs say.
        sentences: the result in words, verdict and sentence.
        charts: pictures, which are put into the page.
        tables: header and rows by title.
        made: how it was made, a sentence each.
        commands: what a user would type.
    """
    body = [f"<h1>{escape(findings['name'])}</h1>", f'<p class="facts">{escape(facts(findings))}</p>']
    for index, (verdict, line) in enumerate(sentences):
        first = " first" if index == 0 else ""
        body.append(f'<p class="headline {css(verdict)}{first}">{escape(line)}</p>')
    body += [f'<p class="note">{escape(note)}</p>' for note in findings["notes"]]
    if findings["pairs"]:
        body.append("<h2>Environment by environment</h2>")
        caption = (
            "Mean final return with its 95 % interval. The bar is the probability that a run of the first agent wins, "
            "from 0 to 1, with its interval."
        )
        body.append(f'<p class="caption">{caption}</p>')
    body += [meetings(findings, pair) for pair in findings["pairs"]]
    for chart in charts:
        body.append(f'<h2>{escape(chart.question)}</h2><p class="caption">{escape(chart.caption)}</p>')
        for path in chart.files:
            picture = base64.b64encode(path.read_bytes()).decode()
            body.append(f'<img alt="{escape(chart.question)}" src="data:image/png;base64,{picture}">')
    for title, (header, rows) in tables.items():
        body += [f"<h2>{escape(title)}</h2>", table(header, [[escape(cell) for cell in row] for row in rows])]
    body.append(
        "<h2>How it was made</h2><ul>" + "".join(f"<li>{escape(line)}</li>" for line in made) + "</ul>"
    )
    lines = escape("\n".join(commands))
    body.append(f"<details><summary>{len(commands)} commands</summary><pre>{lines}</pre></details>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(findings["name"])}'
    newline = "\n"
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</title><style>{STYLE}</style></head><body>\n'
        f"{newline.join(body)}\n</body></html>\n"
    )


def facts(findings: dict[str, Any]) -> str:
    """Size of the comparison in one line."""
    counts = {
        "agents": len(findings["contestants"]),
        "environments": len(findings["environments"]),
        "runs": sum(len(row["runs"]) for row in findings["table"]),
    }
    words = [f"{count} {name if count > 1 else name.removesuffix('s')}" for name, count in counts.items()]
    return " · ".join([*words, f"{findings['episodes']} evaluation episodes a run"])


def css(verdict: str) -> str:
    """Class of a verdict."""
    return verdict if verdict in ("better", "worse", "tie") else "few"


def meetings(findings: dict[str, Any], pair: dict[str, Any]) -> str:
    """One agent against another, environment by environment."""
    cells = {(row["environment"], row["contestant"]): row for row in findings["table"]}
    rows = []
    for row in pair["environments"]:
        sides = [cells[row["environment"], pair[side]] for side in ("first", "second")]
        steps = " / ".join(dict.fromkeys(short(side["steps"]) for side in sides))
        runs = " / ".join(dict.fromkeys(str(len(side["runs"])) for side in sides))
        digits = return_digits(*(side["mean"][0] for side in sides))
        means = (cell(side["mean"], digits) for side in sides)
        rows.append([escape(row["environment"]), steps, runs, *means, *judged(row)])
    rows.append(["<strong>all</strong>", "", "", "", "", *judged(pair)])
    header = ["environment", "steps", "runs", pair["first"], pair["second"], "", f"{pair['first']} is"]
    title = f"<h3>{escape(pair['first'])} against {escape(pair['second'])}</h3>"
    return title + table([escape(each) for each in header], rows)


def cell(mean: list[float | None], digits: int) -> str:
    """A mean with its interval in small print."""
    value, low, high = mean
    return f"<strong>{value:.{digits}f}</strong>" + (
        "" if low is None else f" <small>[{low:.{digits}f}, {high:.{digits}f}]</small>"
    )


def judged(row: dict[str, Any]) -> list[str]:
    """A probability of improvement as a small picture and a number, and the verdict."""
    word = f'<span class="chip {css(row["verdict"])}">{VERDICT_MARKS[row["verdict"]]}</span>'
    return [f"{bar(row['probability'], row['verdict'])} {row['probability'][0]:.2f}", word]


def bar(probability: list[float | None], verdict: str) -> str:
    """An interval between 0 and 1 as a picture of 120 by 14 pixels."""
    value, low, high = (None if each is None else 5 + 110 * each for each in probability)
    color = VERDICT_COLORS[verdict]
    parts = ['<line x1="5" x2="115" y1="7" y2="7" stroke="#d9dee3" stroke-width="2"/>',
             '<line x1="60" x2="60" y1="0" y2="14" stroke="#59636e"/>']  # fmt: skip
    if low is not None:
        parts.append(
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="7" y2="7" stroke="{color}" stroke-width="5" opacity=".5"/>'
        )
    parts.append(f'<circle cx="{value:.1f}" cy="7" r="4.5" fill="{color}"/>')
    return f'<svg width="120" height="14" style="vertical-align:-2px" role="img">{"".join(parts)}</svg>'


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table of cells that are HTML already; it scrolls where a screen is narrow."""
    head = "".join(f"<th>{each}</th>" for each in header)
    lines = "".join(f"<tr>{''.join(f'<td>{each}</td>' for each in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div>'
