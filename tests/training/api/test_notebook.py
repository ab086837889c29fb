"""The notebook for a first run, from top to bottom in a kernel of its own."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[3] / "docs" / "notebooks" / "first-run.ipynb"
SECONDS = 120  # of one core


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_the_notebook_runs_in_under_two_minutes(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws into the page
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), (
        "outputs are made anew, and not kept in git"
    )
    # Of the kernel and the processes that it started: seconds on a clock depend on who else is at work.
    seconds = nbformat.v4.new_code_cell("import os; sum(os.times()[:4])")
    notebook.cells.append(seconds)
    nbclient.NotebookClient(
        notebook, timeout=10 * SECONDS, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert float(seconds["outputs"][0]["data"]["text/plain"]) < SECONDS
    shown = [list(cell.get("outputs", [])) for cell in notebook.cells]
    text = str(shown)
    assert "100%|" in text, "a bar, and not lines"
    assert "image/png" in text and "text/html" in text
    assert (tmp_path / "comparisons" / "runs" / "report.html").is_file()
    report = next(output for cell in shown for output in cell if "'return_mean'" in str(output))
    assert eval(report["data"]["text/plain"])["return_mean"] > 200
