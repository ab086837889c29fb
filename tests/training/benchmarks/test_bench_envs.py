import json

from palaestra.training.benchmarks.env_speed import bench_envs, format_bench_envs
from palaestra.training.benchmarks.survey import format_survey
from palaestra.training.cli.main import run


def test_backends_are_measured_or_say_why_not(capsys):
    words = ["palaestra/Corridor-v0", "--num-envs", "1", "2", "--seconds", "0.01", "--json"]
    assert run(["bench", "envs", *words]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = {(row["backend"], row["num_envs"]): row for row in report["results"]}
    for place in (("sync", 1), ("sync", 2), ("async", 2)):
        assert rows[place]["steps_per_second"] > 100 and "layer_us" in rows[place]
    assert "no vector environment of its own" in rows["vector", 1]["error"]
    assert ("vector", 2) not in rows
    assert report["auto"] == {"1": "sync", "2": "sync"}


def test_what_is_printed():
    row = {"backend": "sync", "num_envs": 8, "steps_per_second": 51234.0, "step_us": 156.14}
    row |= {"layer_us": 3.96, "layer_share": 0.026}
    report = {"results": [row, {"backend": "ale", "num_envs": 8, "error": "not one of"}], "auto": {8: "sync"}}
    assert format_bench_envs(report).splitlines()[1:] == [
        "sync            8        51,234             156.1         4.0 us (3%)",
        "ale             8  not one of",
        "auto takes sync for 8",
    ]


def test_an_unknown_environment_says_so_for_each_backend():
    report = bench_envs("Corridorr-v0", [1], 0.01, {}, (), print)
    # A backend whose package is missing says that instead.
    said = [row["error"] for row in report["results"] if "pip install" not in row["error"]]
    assert len(said) >= 3 and all("Corridorr-v0" in error for error in said)


def test_the_survey_is_a_page(tmp_path, capsys):
    page = tmp_path / "survey.md"
    assert run(["envs", "survey", "palaestra/Corridor", "palaestra/ProbeDelayed", "--out", str(page)]) == 0
    assert "2 of 2 environments were stepped; 0 failed without a known reason" in page.read_text()
    assert "| palaestra | 2 | 2 | 2 | 0 |" in page.read_text()
    assert capsys.readouterr().err.splitlines() == [
        "palaestra/Corridor-v0: ok",
        "palaestra/ProbeDelayed-v0: ok",
    ]


def test_the_survey_says_what_failed():
    rows = [
        {"id": "A-v0", "family": "a", "failed": "no engine for A-v0", "errors": [], "warnings": []},
        {"id": "B-v0", "family": "a", "failed": "", "errors": ["bad | worse"], "warnings": ["odd"]},
    ]
    text = format_survey(rows)
    assert "| a | 2 | 1 | 1 | 1 |" in text and "| failed: no engine for ID | 1: A-v0 |" in text
    assert "| error: bad / worse | 1: B-v0 |" in text and "| warning: odd | 1: B-v0 |" in text


def test_a_known_failure_is_explained_once():
    lost = "environment 0 failed: FileNotFoundError: 'Hogs.png'"
    rows = [
        {
            "id": f"MiniGrid-WFC-{name}-v0",
            "family": "minigrid",
            "failed": said,
            "errors": [said],
            "warnings": [],
        }
        for name, said in (("A", lost), ("B", "environment 0 failed: KeyError: 3"))
    ]
    text = format_survey(rows)
    assert "0 of 2 environments were stepped; 1 failed without a known reason." in text
    assert "- MiniGrid-WFC-A-v0: the wheel of minigrid lacks" in text
    assert (
        "Hogs" not in text and "| failed: environment 0 failed: KeyError: 3 | 1: MiniGrid-WFC-B-v0 |" in text
    )
