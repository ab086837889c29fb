import sys

import numpy as np
import pytest

from palaestra import Table

ROWS = [{"step": 8, "loss": 0.5}, {"step": 16, "loss": 0.25, "return": 3.0}, {"step": 24, "return": 5.0}]


def test_columns_rows_and_curves():
    table = Table(ROWS)
    assert table.columns == ["step", "loss", "return"] and len(table) == 3 and list(table) == ROWS
    assert table["step"].tolist() == [8, 16, 24] and table["step"].dtype.kind == "i"
    np.testing.assert_array_equal(table["return"], [np.nan, 3, 5])
    steps, returns = table.curve("return")
    assert steps.tolist() == [16, 24] and returns.tolist() == [3, 5]
    assert [part.tolist() for part in table.curve("return", against="loss")] == [[0.25], [3.0]]
    assert "return" in table and "episode" not in table
    assert repr(table) == "Table of 3 rows: step, loss, return"
    with pytest.raises(KeyError, match="did you mean 'return'"):
        table["retrun"]


def test_no_rows():
    table = Table([])
    assert len(table) == 0 and table.columns == [] and "<table>" in table._repr_html_()


def test_lists_are_objects():
    column = Table([{"returns": [1.0, 2.0]}, {"returns": [3.0]}])["returns"]
    assert column.dtype == object and column[1] == [3.0]
    assert Table([{"returns": [1.0]}, {"returns": [3.0]}])["returns"][0] == [1.0]


def test_a_notebook_shows_the_ends_of_a_long_table():
    page = Table([{"step": i, "a<b": i / 3} for i in range(40)])._repr_html_()
    assert page.count("<tr>") == 12 and "30 more rows" in page and "a&lt;b" in page and "0.333333" in page


def test_pandas_is_not_needed(monkeypatch):
    frame = pytest.importorskip("pandas")
    assert Table(ROWS).to_pandas().equals(frame.DataFrame(ROWS))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        Table(ROWS).to_pandas()
