"""`palaestra runs`: what has been trained here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .terminal.options import JsonSwitch, read_options
from .terminal.output import DONE, print_result


@dataclass(frozen=True)
class RunsOptions:
    """What has been trained here."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Where to look, folders below included."""
    json: JsonSwitch = False


def runs(arguments: list[str]) -> int:
    """List runs."""
    options = read_options(RunsOptions, arguments, "runs")
    from ..run.listing import find_runs, format_runs, runs_as_json

    found = find_runs(options.folder)
    print_result(runs_as_json(found), options.json, lambda _: format_runs(found))
    return DONE
