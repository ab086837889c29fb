"""Runs that version 0.1.0 began: they load, and go on to the numbers that 0.1.0 went on to."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import palaestra

FIXTURES = Path(__file__).parents[2] / "fixtures" / "v0_1"
RUNS = sorted(path.name for path in FIXTURES.iterdir() if (path / "config.yaml").is_file())


def test_every_agent_is_among_them():
    assert {"ppo", "ppo-lstm", "reinforce", "dqn", "dqn-gru", "pqn", "ddpg", "td3"} <= set(RUNS)


def rows(path):
    """Rows of metrics, without what depends on the machine's speed."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: x for name, x in row.items() if not name.startswith("time/")} for row in found]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_as_it_would_have(name, tmp_path):
    from palaestra.training.run.resuming import resume_run

    run_dir = tmp_path / name
    shutil.copytree(FIXTURES / name, run_dir)
    resume_run(run_dir)
    found, expected = rows(run_dir / "metrics.jsonl"), rows(run_dir / "expected.jsonl")
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        # Rounding differs from processor to processor.
        assert row == pytest.approx(wanted, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_acts(name):
    policy = palaestra.load_policy(FIXTURES / name)
    action, _ = policy.predict(policy.observation_space.sample(), deterministic=True)
    assert policy.action_space.contains(action)


def test_a_world_model_loads():
    fitted = palaestra.load_world_model(FIXTURES / "world_model", torch.device("cpu"))
    assert fitted.episodes.num_steps == 200
