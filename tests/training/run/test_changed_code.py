"""What a run says where the files of its user are not what they were."""

import subprocess
import sys

import pytest

ENV = """
import gymnasium, numpy as np
from rewards import PAY

class Env(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(0, 1, (2,)), gymnasium.spaces.Discrete(2)
    def __init__(self, path=None):
        self.pay = PAY if path is None else float(open(path).read())
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}
    def step(self, action):
        self.steps += 1
        return np.zeros(2, np.float32), self.pay, self.steps == 5, False, {}
"""
TRAIN = ["--steps", "64", "--num-envs", "2", "--agent.rollout-length", "8", "--evaluate-episodes", "1"]
TRAIN += ["--evaluate-every", "0", "--track", "none", "--backend", "sync"]


def command(*words, cwd):
    words = [sys.executable, "-P", "-m", "palaestra.training.cli.main", *map(str, words)]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def two(tmp_path):
    """Two folders with the same environment, whose helper pays 1 in one and 2 in the other, as does a file of data."""
    for name, pay in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "my_env.py").write_text(ENV)
        (tmp_path / name / "rewards.py").write_text(f"PAY = {pay}.0")
        (tmp_path / name / "pay.txt").write_text(f"{pay}.0")
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.parametrize("env", [pytest.param("my_env:Env", marks=pytest.mark.slow), "my_env.py:Env"])
def test_an_edited_helper_is_told_of(env, two):
    one, _ = two
    command("train", "ppo", "--env", env, *TRAIN, "--out", "run", cwd=one)
    (one / "rewards.py").write_text("PAY = 7.0")
    for words in (["evaluate", "run", "--episodes", "1"], ["train", "--resume", "run", "--steps", "128"]):
        told = command(*words, "--trust", cwd=one)
        assert "rewards.py" in told and told.count("has changed since the last session") == 1


def test_modules_and_data_of_another_folder_are_told_of(two):
    one, other = two
    command(
        "train", "ppo", "--env", "my_env:Env", "--env-kwargs", "path=pay.txt", *TRAIN, "--out", "run", cwd=one
    )
    told = command("evaluate", one / "run", "--episodes", "1", "--trust", cwd=other)
    assert "note: pay.txt has changed since the last session" in told
    assert "note: rewards.py, beside my_env:Env has changed since the last session" in told
