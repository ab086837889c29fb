"""`palaestra envs survey --packages`: what packages register is checked and trained in, in processes of its own."""

import json
import os
from pathlib import Path
from textwrap import dedent

import pytest

from palaestra.training.benchmarks.package_survey import (
    disagreements,
    format_packages,
    in_process,
    read_packages,
)
from palaestra.training.cli.main import run

WORLDS = """
    import os

    import gymnasium
    import numpy as np
    from gymnasium import spaces


    class Walk(gymnasium.Env):
        metadata = {"render_modes": []}
        observation_space = spaces.Box(-1, 1, (2,), np.float32)
        action_space = spaces.Discrete(2)

        def __init__(self, fault=""):
            self.fault = fault

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.time = 0
            return np.zeros(2, np.float32), {}

        def step(self, action):
            self.time += 1
            print("step")
            if self.fault == "dies":
                os._exit(3)
            return np.zeros(2, np.float32), 1.0, False, self.time >= 10, {}


    for fault in ("", "dies"):
        gymnasium.register(f"Walk{fault}-v0", Walk, kwargs={"fault": fault})
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder from which child processes, too, import an installed package; returns the list of packages."""
    (tmp_path / "walks").mkdir()
    (tmp_path / "walks" / "__init__.py").write_text(dedent(WORLDS))
    info = tmp_path / "some_walks-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-walks\nVersion: 1.5\n")
    (info / "RECORD").write_text("walks/__init__.py,,\n")
    earlier = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), earlier])))
    listed = tmp_path / "packages.txt"
    listed.write_text("# mine\nsome-walks walks  # and where\nno-such-package\n")
    return listed


def test_packages_are_checked_and_trained_in(packages, tmp_path, capsys):
    page = tmp_path / "page.md"
    words = ["--packages", str(packages), "--timeout", "60", "--out", str(page), "--json"]
    assert run(["envs", "survey", *words]) == 0
    captured = capsys.readouterr()
    sound, deadly, missing = json.loads(captured.out)["environments"]
    assert sound["id"] == "walks:Walk-v0" and sound["trained"] and sound["ok"] and "ppo" in sound["agents"]
    assert not deadly["trained"] and deadly["failed"] == "its process ended with code 3"
    assert missing["id"] == "" and missing["failed"] == "its process ended with code 1"
    assert "[1/2] walks:Walk-v0: trained" in captured.err.splitlines()
    text = page.read_text()
    assert "1 of 2 environments of 1 packages are trained in; the check was right in 1 of 1" in text
    assert "| some-walks | 1.5 | walks:Walk-v0 | mlp | ok | yes |" in text
    assert "- no-such-package" in text


def test_a_package_that_takes_too_long_is_given_up(packages):
    assert in_process(["ids", "some-walks", "walks"], 0.05) == ({}, "took longer than 0.05 s")


def test_a_limit_of_environments_and_comments(packages):
    assert read_packages(packages) == [("some-walks", "walks"), ("no-such-package", "")]


def test_a_wrong_check_is_counted():
    about = {"package": "a", "version": "1", "errors": [], "warnings": [], "failed": "", "ok": True}
    rows = [
        about | {"id": "a:A-v0", "agents": ["ppo"], "trained": True},
        about | {"id": "a:B-v0", "agents": ["ppo"], "trained": False, "failed": "no /usr/lib/x.so | here"},
        about | {"id": "a:C-v0", "agents": [], "trained": True},
    ]
    assert [row["id"] for row in disagreements(rows)] == ["a:B-v0", "a:C-v0"]
    text = format_packages(rows, Path("list.txt"))
    assert "the check was right in 1 of 3" in text and "no x.so / here" in text and "list.txt" in text
