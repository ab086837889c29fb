import json
import time

import numpy as np
import pytest
import torch

from palaestra.training.run import session
from palaestra.training.run.clocks import Meter, due
from palaestra.training.run.evaluate import Evaluation
from palaestra.training.run.loaded import load_run
from palaestra.training.run.start import start_run
from palaestra.training.settings.config import run_config
from palaestra.training.tracking.metrics_file import read_metrics


def test_clocks_tick_at_multiples():
    assert [
        step for before, step in zip(range(0, 40, 8), range(8, 48, 8), strict=True) if due(20, before, step)
    ] == [
        24,
        40,
    ]
    assert not due(0, 0, 100)


def test_the_meter_gives_means_and_starts_over():
    meter = Meter()
    meter.add({"a": 1.0})
    meter.add({"a": 3.0, "b": 5.0})
    assert meter.read() == {"a": 2.0, "b": 5.0}
    assert meter.read() == {}


def test_a_run_logs_evaluates_and_saves_when_it_should(tmp_path, small_config):
    config = small_config(steps=2000, log_every=400, evaluate_every=1000, checkpoint_every=500)
    result = start_run(config, tmp_path / "run")
    rows = read_metrics(tmp_path / "run")
    logs = [row["step"] for row in rows if "time/total" in row]
    evaluations = [row["step"] for row in rows if "eval/return" in row]
    assert [step // 400 for step in logs] == [1, 2, 3, 4, 5]
    assert [step // 1000 for step in evaluations] == [1, 2]
    assert 2000 <= result.step < 2004 and result.signal is None
    assert [row["step"] for row in json.loads((tmp_path / "run/evaluations.json").read_text())] == evaluations
    last = rows[-2]
    assert {"loss/policy", "loss/value", "policy/entropy", "episode/return", "episode/length"} <= last.keys()
    assert last["episode/return"] == last["episode/length"]  # CartPole pays 1 a step
    assert len(list((tmp_path / "run/checkpoints").iterdir())) == 2


def test_steps_are_real_ones(tmp_path, small_config):
    """CartPole's own vector environment spends rows on resetting; those are no steps."""
    start_run(small_config(steps=3000, log_every=3000, env="CartPole-v1"), tmp_path / "run")
    rows = [row for row in read_metrics(tmp_path / "run") if "episode/length" in row]
    assert 3000 <= rows[-1]["step"] < 3004


def train_on_probe(probe, run_dir):
    config = run_config(
        {
            "agent": {
                "name": "ppo",
                "rollout_length": 32,
                "gamma": 0.9,
                "learning_rate": 0.003,
                "batch_size": 64,
            },
            "env": f"palaestra/Probe{probe}-v0",
            "steps": 12_000,
            "track": "none",
        }
    )
    return start_run(config, run_dir)


@pytest.mark.parametrize(
    ("probe", "obs", "value"),
    [
        ("Constant", [[0.0]], [1.0]),
        ("Observation", [[-1.0], [1.0]], [-1.0, 1.0]),
        ("Delayed", [[0.0], [1.0]], [0.9, 1.0]),
    ],
)
def test_ppo_learns_the_value_of_a_probe(probe, obs, value, tmp_path):
    """The value's bias, its features, its discount: one at a time."""
    train_on_probe(probe, tmp_path / "run")
    agent = load_run(tmp_path / "run").agent
    with torch.no_grad():
        learned = agent._value(
            torch.tensor([obs]), torch.zeros(len(obs), 0), torch.ones(1, len(obs), dtype=torch.bool)
        )
    np.testing.assert_allclose(learned[0], value, atol=0.1)


@pytest.mark.parametrize(
    "probe", ["Action", "ActionObservation", "ActionContinuous", "ActionObservationContinuous"]
)
def test_ppo_finds_the_right_action_of_a_probe(probe, tmp_path):
    """The policy's update alone, then together with the observation."""
    result = train_on_probe(probe, tmp_path / "run")
    assert min(result.evaluation.returns) > 0.97


def test_the_speed_is_that_of_training_only(tmp_path, small_config, monkeypatch):
    """Evaluations and checkpoints between two logs do not count."""

    def slow(agent, spec, episodes, *, signals):
        time.sleep(1.0)
        return Evaluation([1.0], [1])

    monkeypatch.setattr(session, "evaluate", slow)
    start_run(small_config(steps=2000, log_every=400, evaluate_every=400), tmp_path / "run")
    rows = [row for row in read_metrics(tmp_path / "run") if "time/steps_per_second" in row]
    after_evaluations = rows[1:]
    assert len(after_evaluations) == 4
    assert (
        sum(400 / row["time/steps_per_second"] for row in after_evaluations)
        < after_evaluations[-1]["time/total"] - 3
    )
