"""`palaestra envs survey --packages FILE`: environments of installed packages of others, checked and trained in."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

CHILD = "palaestra.training.benchmarks.survey_child"
# Nothing is to be shown, and nothing may wait for an answer.
WITHOUT_SCREEN = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "MPLBACKEND": "Agg"}
LONGEST = 160
TOO_LONG = "took longer than"


def read_packages(path: Path) -> list[tuple[str, str]]:
    """Distributions named in a file, one a line, each with the module to import, or none; `#` begins a comment."""
    lines = [line.partition("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [(words[0], words[1] if len(words) > 1 else "") for words in lines if words]


def survey_packages(
    packages: list[tuple[str, str]],
    limit: int,
    timeout: float,
    say: Callable[[str], None],
    keep: Callable[[list[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    """Check and train in every environment that packages register, each in a process of its own.

    Args:
        packages: Distributions, and the module of each that registers its environments, or none.
        limit: Environments of each package at most; 0 is all.
        timeout: Seconds for each.
        say: Shows how far it is.
        keep: Takes the rows so far after each package, so that little is lost where it is stopped.

    Returns:
        A row an environment; packages that register none have one, too, with an empty `id`.
    """
    rows: list[dict[str, Any]] = []
    for number, (package, module) in enumerate(packages, 1):
        known, failed = in_process(["ids", package, module], timeout)
        names = known.get("names", [])
        about = {"package": package, "version": known.get("version", ""), "of": len(names)}
        if not names:
            why = known.get("failed") or failed or "registers nothing"
            rows.append(about | {"id": "", "failed": why, "errors": [], "warnings": []})
            say(f"[{number}/{len(packages)}] {package}: {why}")
        for name in names[: limit or None]:
            found, failed = in_process(["try", name], timeout)
            row = about | {"id": name, "trained": False, "agents": [], "errors": [], "warnings": []} | found
            row["failed"] = failed or row.get("failed", "")
            rows.append(row)
            outcome = "trained" if row["trained"] else f"not trained: {row['failed']}"
            say(f"[{number}/{len(packages)}] {name}: {outcome[:LONGEST]}")
        keep(rows)
    return rows


def in_process(words: list[str], timeout: float) -> tuple[dict[str, Any], str]:
    """Run one task of `survey_child`; returns what it found, and why it did not come to its end, if so."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", CHILD, words[0], str(result), *words[1:]]
        streams: Any = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        # A folder of its own: packages write where they are.
        child = subprocess.Popen(
            command, cwd=folder, env=os.environ | WITHOUT_SCREEN, start_new_session=True, **streams
        )
        failed = ""
        try:
            code = child.wait(timeout)
            failed = "" if code == 0 else f"its process ended with code {code}"
        except subprocess.TimeoutExpired:
            failed = f"{TOO_LONG} {timeout:g} s"
        finally:
            if child.poll() is None:
                if sys.platform == "win32":
                    child.kill()
                else:
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        return json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}, failed


def disagreements(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of environments in which an agent trains though the check says that none can, or the other way round."""
    return [row for row in finished(rows) if bool(row["agents"]) != row["trained"]]


def finished(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of environments whose check and training came to their end, well or badly."""
    return [row for row in rows if "ok" in row and not row["failed"].startswith(TOO_LONG)]


def format_packages(rows: list[dict[str, Any]], file: Path) -> str:
    """A page for the docs."""
    tried = [row for row in rows if row["id"]]
    lines = [
        "# Environments of other packages, checked and trained in",
        "",
        f"Written by `palaestra envs survey --packages {file} --limit N --out FILE`. In each environment",
        "`envs check` says which agents can train, and PPO, or else the first of them, trains for 512 steps",
        f"with its defaults (Gymnasium {version('gymnasium')}).",
        f"{sum(row['trained'] for row in tried)} of {len(tried)} environments of "
        f"{len({row['package'] for row in tried})} packages are trained in; the check was right in "
        f"{len(finished(rows)) - len(disagreements(rows))} of {len(finished(rows))} that came to their end.",
        "",
        "| package | version | id | encoder | check | trained | steps/s | what there is to say |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in tried:
        verdict = "ok" if row.get("ok") else "not reproducible" if row["agents"] else "no agent"
        verdict = verdict if "ok" in row else ""
        speed = f"{row['speed']:,.0f}" if row.get("speed") else ""
        trained = "yes" if row["trained"] else "no"
        cells = [
            row["package"],
            row["version"],
            row["id"],
            row.get("encoder", ""),
            verdict,
            trained,
            speed,
            said(row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    nothing = [
        f"{row['package']} {row['version']} ({in_cell(row['failed'])})" for row in rows if not row["id"]
    ]
    if nothing:
        lines += ["", "## Packages without environments here", "", *(f"- {line}" for line in nothing)]
    return "\n".join(lines) + "\n"


def said(row: dict[str, Any]) -> str:
    """The first thing to know of an environment."""
    findings = [*row["errors"], *([row["failed"]] if row["failed"] else []), *row["warnings"]]
    return in_cell(findings[0]) if findings else ""


def in_cell(text: str) -> str:
    """A finding in a cell of a table: where packages lie differs from machine to machine."""
    text = re.sub(r"/\S*/", "", text).replace("|", "/")
    return text if len(text) <= LONGEST else text[:LONGEST].rpartition(" ")[0] + " ..."
