"""`palaestra matrix`: what each agent, encoder and memory has reached, as a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .terminal.options import read_options
from .terminal.output import DONE


@dataclass(frozen=True)
class MatrixOptions:
    """What each agent, encoder and memory has reached: a table for every task, and the command of every cell."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Where to look for finished runs, folders below included."""
    out: Path | None = None
    """Markdown file to write; by default it is printed."""


def matrix(arguments: list[str]) -> int:
    """Tabulate runs."""
    options = read_options(MatrixOptions, arguments, "matrix")
    from ..comparison.matrix import find_cells, matrix_page

    text = matrix_page(find_cells(options.folders))
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")
        print(f"wrote {options.out}")
    return DONE
