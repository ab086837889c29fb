"""A comparison for readers: one HTML file that needs no other, Markdown, JSON, CSV and a PNG a chart."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .report_charts import Chart, draw_charts, short
from .report_page import page

Table = tuple[list[str], list[list[str]]]
Value = list[float | None]


@dataclass(frozen=True)
class Written:
    """What a report consists of."""

    page: Path
    pictures: list[Path]
    files: list[Path]
    """All others."""


def write_report(findings: dict[str, Any], out: Path) -> Written:
    """Write `report.html`, `report.md`, `comparison.json`, CSV files and pictures."""
    (out / "comparison.json").write_text(json.dumps(findings, indent=1) + "\n")
    tables_written = write_csvs(findings, out)
    charts = draw_charts(findings, out)
    said, found = headline(findings), tables(findings)
    (out / "report.md").write_text(markdown(findings, said, charts, found), encoding="utf-8")
    path = out / "report.html"
    path.write_text(page(findings, said, charts, found, made(findings), commands(findings)), encoding="utf-8")
    others = [path, out / "report.md", out / "comparison.json", *tables_written]
    return Written(path, [file for chart in charts for file in chart.files], others)


def write_csvs(findings: dict[str, Any], out: Path) -> list[Path]:
    """Write final scores, meetings, learning curves, and what depends on the machine's speed; returns the files."""
    curves, timing = findings["curves"], findings["timing"]
    runs = [
        (row["environment"], row["contestant"], row["steps"], seed, value)
        for row in findings["table"]
        for seed, value in zip(row["seeds"], row["runs"], strict=True)
    ]
    meetings = [
        (pair["first"], pair["second"], row["environment"], *row["probability"], row["verdict"])
        for pair in findings["pairs"]
        for row in pair["environments"]
    ]
    points = [
        (curve["environment"], curve["contestant"], curve["seed"], step, value)
        for curve in curves
        for step, value in zip(curve["steps"], curve["returns"], strict=True)
    ]
    seconds = [
        (curve["environment"], curve["contestant"], curve["seed"], spent)
        for curve, spent in zip(curves, timing["seconds"], strict=True)
    ]
    head = ("environment", "contestant")
    write_csv(out / "scores.csv", (*head, "steps", "seed", "return"), runs)
    names = ("first", "second", "environment", "probability_of_improvement", "low", "high", "first_is")
    write_csv(out / "meetings.csv", names, meetings)
    write_csv(out / "curves.csv", (*head, "seed", "step", "return"), points)
    write_csv(out / "seconds.csv", (*head, "seed", "seconds"), seconds)
    return [out / f"{name}.csv" for name in ("scores", "meetings", "curves", "seconds")]


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write one file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


# -- In words -------------------------------------------------------------------------------------------------------


def headline(findings: dict[str, Any]) -> list[tuple[str, str]]:
    """The result in plain words: verdict and sentence, of all first, then of each pair of agents."""
    said = []
    if overall := findings["overall"]:
        count = overall["verdicts"]
        unclear = f", {count['too few runs']} with too few runs to say" if count["too few runs"] else ""
        said.append(
            f"{sentence(overall)}, over {overall['meetings']} meetings of an agent with its counterpart in an "
            f"environment: {count['better']} won, {count['tie']} tied, {count['worse']} lost{unclear}."
        )
    for pair in findings["pairs"]:
        environments = len(pair["environments"])
        said.append(f"{sentence(pair)}, over {environments} environment{'s' * (environments > 1)}.")
    verdicts = [row["verdict"] for row in [findings["overall"], *findings["pairs"]] if row]
    return list(zip(verdicts, said, strict=True))


def sentence(row: dict[str, Any]) -> str:
    """Who is better, in words, with the probability of improvement."""
    first, second = row["first"], row["second"]
    words = {
        "better": f"{first} is better than {second}",
        "worse": f"{first} is worse than {second}",
        "tie": f"{first} and {second} cannot be told apart",
        "too few runs": f"Too few runs to say whether {first} or {second} is better",
    }
    return f"{words[row['verdict']]}: a run of the first wins with probability {measured(row['probability'])}"


def measured(value: Value, digits: int = 2) -> str:
    """A number with its interval, if it has one."""
    middle, low, high = value
    return f"{middle:.{digits}f}" + ("" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]")


# -- Tables ---------------------------------------------------------------------------------------------------------


def tables(findings: dict[str, Any]) -> dict[str, Table]:
    """Every table as header and rows of text."""
    found = {
        "Final scores": scores_table(findings),
        "Normalised scores over environments": aggregates_table(findings),
        "Steps until it is learned": efficiency_table(findings, findings["efficiency"], "steps"),
        "Seconds until it is learned": efficiency_table(
            findings, findings["timing"]["efficiency"], "seconds"
        ),
    }
    return {title: table for title, table in found.items() if table[1]}


def scores_table(findings: dict[str, Any]) -> Table:
    """Mean and interquartile mean of final scores."""
    header = ["environment", "agent", "steps", "runs", "mean return", "interquartile mean"]
    rows = [
        [
            row["environment"],
            row["contestant"],
            short(row["steps"]),
            str(len(row["runs"])),
            measured(row["mean"], 1),
            measured(row["iqm"], 1),
        ]
        for row in findings["table"]
    ]
    return header, rows


def aggregates_table(findings: dict[str, Any]) -> Table:
    """Aggregates of agents that meet, over the environments of both."""
    rows, titles = [], []
    for row in [findings["overall"], *findings["pairs"]]:
        if row and all(row["aggregates"]):
            titles = list(row["aggregates"][0])
            for name, values in zip((row["first"], row["second"]), row["aggregates"], strict=True):
                against = row["second"] if name == row["first"] else row["first"]
                rows.append([name, against, *(measured(values[title]) for title in titles)])
    return ["agent", "met with", *titles], rows


def efficiency_table(findings: dict[str, Any], source: list[dict[str, Any]], unit: str) -> Table:
    """When evaluations first reach a normalised score of 0.9."""
    rows = []
    for row in source:
        median = (
            "-"
            if row["median"] is None
            else short(row["median"])
            if unit == "steps"
            else f"{row['median']:.1f}"
        )
        line = [row["environment"], row["contestant"], f"{row['reached']} of {len(row['runs'])}", median]
        if unit == "seconds":
            line.append(f"{whole_runs(findings, row['environment'], row['contestant']):.1f}")
        rows.append(line)
    extra = ["seconds of a whole run (median)"] if unit == "seconds" else []
    return ["environment", "agent", "runs that get there", f"{unit} (median)", *extra], rows


def whole_runs(findings: dict[str, Any], env: str, contestant: str) -> float:
    """Median seconds of training."""
    of_runs = zip(findings["curves"], findings["timing"]["seconds"], strict=True)
    spent = [s for curve, s in of_runs if (curve["environment"], curve["contestant"]) == (env, contestant)]
    return float(np.median(spent))


# -- Pages ----------------------------------------------------------------------------------------------------------


def made(findings: dict[str, Any]) -> list[str]:
    """How the numbers came about: seeds, episodes, references, versions and machines, a sentence each."""
    seeds = ", ".join(map(str, findings["seeds"]))
    lines = [
        f"A run's score is its mean return over {findings['episodes']} full evaluation episodes after training, "
        "with the best actions and seeds that neither training nor its evaluations used.",
        f"Seeds of the runs: {seeds}; the commands below are those of the first, the others differ in seed and folder.",
        "Intervals hold 95 % of 10,000 bootstrap samples, in which runs are drawn again within each environment.",
    ]
    if findings["references"]:
        pairs = (f"{env} {low:g} and {high:g}" for env, (low, high) in findings["references"].items())
        lines.append(
            f"Normalised scores are 0 for random actions and 1 for a good agent: {'; '.join(pairs)}."
        )
    for session in findings["made_with"]:
        versions = ", ".join(f"{name} {number}" for name, number in session["versions"].items())
        commit = f"commit {session['commit']}, " if session["commit"] else ""
        machine = session["machine"]
        lines.append(
            f"Made with {commit}{versions}, on {machine['processor']}, {machine['cores']} cores, {machine['system']}."
        )
    return lines


def commands(findings: dict[str, Any]) -> list[str]:
    """What a user would type for the first run of every agent in every environment."""
    return [line for row in findings["table"] for line in row["commands"]]


def markdown(
    findings: dict[str, Any], said: list[tuple[str, str]], charts: list[Chart], found: dict[str, Table]
) -> str:
    """The report in Markdown."""
    lines = [f"# {findings['name']}", "", *(f"- {line}" for _, line in said), ""]
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


def meetings_table(findings: dict[str, Any], pair: dict[str, Any]) -> Table:
    """One agent beside another, environment by environment."""
    first, second = pair["first"], pair["second"]
    cells = {(row["environment"], row["contestant"]): row for row in findings["table"]}
    rows = []
    for row in pair["environments"]:
        ours, theirs = cells[row["environment"], first], cells[row["environment"], second]
        equal = ours["steps"] == theirs["steps"]
        steps = short(ours["steps"]) if equal else f"{short(ours['steps'])}, {short(theirs['steps'])}"
        counts = dict.fromkeys((str(len(ours["runs"])), str(len(theirs["runs"]))))
        both = [measured(ours["mean"], 1), measured(theirs["mean"], 1)]
        chance = measured(row["probability"])
        rows.append([row["environment"], steps, ", ".join(counts), *both, chance, row["verdict"]])
    return ["environment", "steps", "runs", first, second, f"P({first} wins)", f"{first} is"], rows


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def summary(findings: dict[str, Any], path: Path) -> str:
    """What the command prints at its end: the scores, the verdicts, and where the report lies."""
    header, rows = scores_table(findings)
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    said = [line for _, line in headline(findings)]
    return "\n".join([*lines, "", *said, *(f"note: {note}" for note in findings["notes"]), f"report: {path}"])
