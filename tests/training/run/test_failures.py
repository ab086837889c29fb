"""An environment that fails in the middle of a run."""

import json

import numpy as np
import pytest

from palaestra.training.cli.main import run
from palaestra.training.run.checkpoint import STATE, TENSORS, latest_checkpoint

FRAGILE = """
from pathlib import Path
import gymnasium, numpy as np


class Fragile(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        self.time += 1
        obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        if obs[0] > 0.997 and Path("broken").exists():
            raise OSError("sensor lost")
        return obs, float(action), self.time == 20, False, {}
"""
OPTIONS = ["--env", "fragile_of_mine:Fragile", "--steps", "1500", "--num-envs", "4", "--track", "none"]
OPTIONS += ["--evaluate-episodes", "2", "--evaluate-every", "5000", "--checkpoint-every", "5000"]
OPTIONS += ["--agent.rollout-length", "32"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "fragile_of_mine.py").write_text(FRAGILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def train(*words):
    return run(["train", *words])


def left_by(run_dir):
    """Everything in the last checkpoint but the clock on the wall."""
    state = json.loads((latest_checkpoint(run_dir) / STATE).read_text())
    del state["clock"]["seconds"]
    return (latest_checkpoint(run_dir) / TENSORS).read_bytes(), state


def test_a_failed_run_is_saved_and_goes_on_as_if_nothing_had_happened(here, capsys):
    assert train("ppo", *OPTIONS, "--out", "alone") == 0
    (here / "broken").touch()
    assert train("ppo", *OPTIONS, "--out", "failed") == 1
    error = capsys.readouterr().err
    assert 'raise OSError("sensor lost")' in error  # where the environment's author has to look
    assert "\nerror: environment " in error and " failed: OSError: sensor lost (episode seed " in error
    assert "palaestra train --resume failed" in error and "--env.on-error restart" in error
    step = int(latest_checkpoint(here / "failed").name)
    assert 0 < step < 1500
    (here / "broken").unlink()
    assert train("--resume", "failed") == 0
    assert left_by(here / "failed") == left_by(here / "alone")


@pytest.mark.filterwarnings("ignore:environment . failed.*; restarted:RuntimeWarning")
def test_restarting_goes_on_and_counts(here):
    (here / "broken").touch()
    assert train("ppo", *OPTIONS, "--out", "run", "--env.on-error", "restart") == 0
    rows = [json.loads(line) for line in (here / "run" / "metrics.jsonl").read_text().splitlines()]
    counts = [row["env/restarts"] for row in rows if "env/restarts" in row]
    assert counts and counts[-1] >= 1 and np.all(np.diff(counts) >= 0)


def test_options_of_environments_are_recorded_and_read_again(here):
    options = ["--env.wrappers", "gymnasium.wrappers:TimeAwareObservation", "--backend", "sync"]
    # A wrapper that knows the time needs a time limit.
    limit = ["--env-kwargs", "max_episode_steps=50"]
    assert train("ppo", *OPTIONS, *options, *limit, "--out", "run", "--steps", "200") == 0
    assert "TimeAwareObservation" in (here / "run" / "config.yaml").read_text()
    assert run(["evaluate", "run", "--episodes", "2"]) == 0
