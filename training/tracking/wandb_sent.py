"""Which rows of a run's metrics file W&B has, over all sessions of the run."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from .wandb_offline import read_run

SENT_FILE = "wandb_sent.txt"

Row = tuple[int, int]
"""A row's step, and which of that step's rows it is, from 1 on."""


class SentRows:
    """Keeps the last row that W&B has in `wandb_sent.txt`; up to there none is ever sent again.

    wandb's process writes what it was handed to its own file in blocks, and loses the last one when it is killed. So
    while a session lasts the file says in a second line where it began and which folder it has, and whoever comes
    after a session without an end looks there for what was really kept (tried with wandb 0.31).
    """

    def __init__(self, run_dir: Path):
        self.run_dir, self.path = run_dir, run_dir / SENT_FILE
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.last: Row = row(lines[0]) if lines else (-1, 0)
        if len(lines) > 1:
            began, folder = row(lines[1]), run_dir / lines[1].split(maxsplit=2)[2]
            self.last = min(self.last, kept_rows(folder, began, self.last))

    def begin(self, folder: Path) -> None:
        """A session begins, whose own files are in `folder`."""
        began = f"{self.last[0]} {self.last[1]} {os.path.relpath(folder, self.run_dir)}"
        self.path.write_text(f"{self.line()}\n{began}\n", encoding="utf-8")

    def advance(self, last: Row) -> None:
        """Rows up to `last` were handed over."""
        self.last = last
        with self.path.open("r+b") as file:  # never empty, should a kill come now
            file.write(self.line().encode())

    def end(self) -> None:
        """The session has ended well: everything that was handed over was kept."""
        self.path.write_text(f"{self.line()}\n", encoding="utf-8")

    def line(self) -> str:
        """The last row, always as long."""
        return "{:15d} {:5d}".format(*self.last)


def row(line: str) -> Row:
    """The row that a line begins with."""
    step, nth, *_ = line.split()
    return int(step), int(nth)


def kept_rows(folder: Path, began: Row, otherwise: Row) -> Row:
    """The last row in the files of a session that began after row `began`; `otherwise` where there are none to read."""
    try:
        (file,) = folder.glob("*.wandb")
        history = read_run(file).history
    except (OSError, ValueError):
        return otherwise
    # Films and pictures are logged with a step, too; they have a type.
    steps = [int(each["step"]) for each in history if not any(name.endswith("/_type") for name in each)]
    if not steps:
        return began
    last = steps[-1]
    same = len([*itertools.takewhile(lambda step: step == last, reversed(steps))])
    return last, same + (began[1] if began[0] == last else 0)
