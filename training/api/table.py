"""Rows of numbers, as columns."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .training.settings.usage import nearest

if TYPE_CHECKING:
    import pandas

SHOWN = 5


class Table:
    """Columns by name, all of one length; a number that a row lacks is NaN.

    It needs no pandas: `table["episode/return"]` is a NumPy array, `table.to_pandas()` a DataFrame where pandas is
    installed. Iterating gives the rows, each a dict without the numbers that it lacks.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]):
        self.rows = list(rows)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in the order in which they first appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __getitem__(self, name: str) -> np.ndarray:
        """Values of a column `[rows]`; lists of different lengths as objects.

        Raises:
            KeyError: there is no such column; names the nearest.
        """
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; {nearest(str(name), self.columns)}")
        values = [row.get(name, np.nan) for row in self.rows]
        if any(isinstance(value, list) for value in values):
            column = np.empty(len(values), dtype=object)
            column[:] = values
            return column
        return np.asarray(values)

    def curve(self, name: str, against: str = "step") -> tuple[np.ndarray, np.ndarray]:
        """Points of a column to be drawn, without the rows that lack it: a line through NaN would have gaps.

        Args:
            name: the column.
            against: the column of the x-axis; environment steps by default.

        Returns:
            Two arrays of one length.
        """
        self[name], self[against]
        points = [(row[against], row[name]) for row in self.rows if name in row and against in row]
        x, y = zip(*points, strict=True) if points else ((), ())
        return np.asarray(x), np.asarray(y)

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("to_pandas needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.rows, columns=self.columns)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Rows in order."""
        return iter(self.rows)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a column."""
        return name in self.columns

    def __repr__(self) -> str:
        return f"Table of {len(self)} rows: {', '.join(self.columns)}"

    def _repr_html_(self) -> str:
        """What a notebook shows: the first and the last rows."""
        columns = self.columns
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        rows = [_html_row(columns, row) for row in self.rows]
        if len(rows) > 2 * SHOWN:
            gap = f'<tr><td colspan="{len(columns)}">{len(rows) - 2 * SHOWN} more rows</td></tr>'
            rows = [*rows[:SHOWN], gap, *rows[-SHOWN:]]
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _html_row(columns: list[str], row: dict[str, Any]) -> str:
    cells = (row.get(name) for name in columns)
    texts = (
        "" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in cells
    )
    return "<tr>" + "".join(f"<td>{html.escape(text[:40])}</td>" for text in texts) + "</tr>"
