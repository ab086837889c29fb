"""`palaestra bench`: what it says before and while it measures, and what it passes over."""

import json
import subprocess

import pytest

from palaestra.training.benchmarks import bench as module
from palaestra.training.benchmarks.bench import bench, seeds_of
from palaestra.training.benchmarks.peers import PACKAGES, TRAIN, missing
from palaestra.training.benchmarks.tasks import BENCHMARKS, Benchmark
from palaestra.training.run.build import resolve


class Worker:
    """Stands in for a process that takes two looks to finish."""

    returncode = 0

    def __init__(self, command, **pipes):
        self.side, self.looks = command[-2], 2

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def communicate(self, timeout):
        self.looks -= 1
        if self.looks:
            raise subprocess.TimeoutExpired("bench", timeout)
        speed = {"ours": 400.0, "theirs": 100.0}[self.side]
        return json.dumps({"per_second": speed, "return": None, "peak_mb": 1.0, "seconds": 2.0}), ""


def test_how_long_it_will_take_is_said_before_and_that_it_goes_on_meanwhile(monkeypatch):
    monkeypatch.setattr(module, "surroundings", dict)
    monkeypatch.setattr(module.subprocess, "Popen", Worker)
    monkeypatch.setattr(module, "missing", lambda benchmark: None)
    lines = []
    report = bench(["ppo-cartpole", "dqn-cartpole"], 2, lines.append)
    # Twice 32 and 34 s.
    assert lines[0] == "2 benchmarks, 2 runs of each side: about 2 min 12 s where nothing else runs"
    assert lines[1] == "ppo-cartpole ours 1/2: 0 s (both sides take about 32 s together)"
    assert lines[2] == "ppo-cartpole ours 1/2: 400 a second"
    assert "about 1 min 40 s left" in lines and lines[-1] == "dqn-cartpole theirs 2/2: 100 a second"
    assert [row["ratio"] for row in report["results"]] == [4.0, 4.0]
    assert report["results"][0]["peer"] == "stable-baselines3 ppo"


def test_what_is_not_installed_is_passed_over_with_a_line(monkeypatch):
    monkeypatch.setitem(PACKAGES, "rejax", (("no_such_library",), "peers"))
    lines = []
    assert bench(["ppo-cartpole-rejax"], 1, lines.append)["results"] == []
    assert lines == [
        "ppo-cartpole-rejax: passed over, no_such_library not installed (pip install 'palaestra[peers]')"
    ]


def test_the_whole_set_ends_within_fifteen_minutes():
    unnamed = [benchmark for name, benchmark in BENCHMARKS.items() if seeds_of(name) == 1]
    assert 3 * sum(benchmark.seconds for benchmark in unnamed) <= 15 * 60


@pytest.mark.parametrize("name", BENCHMARKS)
def test_learning_begins_before_speed_is_measured(name):
    """Speeds are those after a fifth of the steps."""
    benchmark = BENCHMARKS[name]
    assert benchmark.peer in PACKAGES and (benchmark.peer in TRAIN or missing(benchmark) is None)
    if isinstance(benchmark, Benchmark):
        assert benchmark.ours["agent"].get("learning_starts", 0) < module.WARM_UP * benchmark.steps
        assert benchmark.theirs.get("learning_starts", 0) < module.WARM_UP * benchmark.steps


@pytest.mark.parametrize("name", [name for name, each in BENCHMARKS.items() if isinstance(each, Benchmark)])
def test_every_benchmark_asks_for_a_run_that_there_is(name):
    assert resolve(module._config_of(BENCHMARKS[name], 0)).compile == "on"
