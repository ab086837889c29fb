import json

import pytest

from palaestra.training.benchmarks.dream_speed import MODELS, format_bench_dream
from palaestra.training.cli.main import run


def test_every_dynamics_is_measured(capsys):
    assert run(["bench", "dream", "--num-envs", "3", "--seconds", "0.01", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["arrays"]) for row in report["results"]] == [
        (name, arrays) for name in MODELS for arrays in ("numpy", "tensors")
    ]
    assert all(row["steps_per_second"] > 10 and row["steps_per_cpu_second"] > 10 for row in report["results"])
    assert format_bench_dream(report).splitlines()[1].split()[:3] == ["ensemble", "3", "numpy"]


def test_bad_input(capsys):
    assert run(["bench", "dream", "nowhere"]) == 2
    assert "nowhere is not a world model" in capsys.readouterr().err
    assert run(["bench", "dream", "--num-envs", "0"]) == 2
    assert "--num-envs: must be above 0" in capsys.readouterr().err


@pytest.mark.benchmark
def test_two_hundred_thousand_steps_a_second(capsys):
    assert run(["bench", "dream", "--num-envs", "1024", "--seconds", "5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert max(row["steps_per_cpu_second"] for row in rows) >= 200_000
