"""Whole runs of two processes, in which rounding grows, against those of one: two samples of ten seeds."""

import importlib.util
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from palaestra.training.run.start import start_run
from palaestra.training.settings.train_options import read_train_options
from palaestra.training.tracking.metrics_file import read_metrics

_spec = importlib.util.spec_from_file_location("processes", Path(__file__).with_name("processes.py"))
processes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(processes)

SEEDS = 10
RUN = (
    "--env CartPole-v1 --steps 16384 --num-envs 8 --agent.rollout-length 32 --agent.batch-size 64 "
    "--agent.learning-rate 0.001 --encoder.hidden 32 --log-every 256 --evaluate-every 100000 "
    "--evaluate-episodes 1 --evaluate-max-steps 10 --track none --compile off --backend sync"
)


def chance_of(one, other):
    """Chance of means that are so far apart, or farther, if both samples are of one distribution: over all splits."""
    pooled, size = np.concatenate([one, other]), len(one)
    splits = np.array(list(combinations(range(len(pooled)), size)))
    means = pooled[splits].mean(1)
    apart = np.abs(means - (pooled.sum() - size * means) / (len(pooled) - size))
    return float(np.mean(apart >= abs(np.mean(one) - np.mean(other)) - 1e-9))


def test_chance_of_two_samples():
    """Of the six splits of 1, 2, 3, 4 two have means that are 2 apart, and all have means that are 0 apart or more."""
    assert chance_of([1.0, 2.0], [3.0, 4.0]) == pytest.approx(2 / 6)
    assert chance_of([1.0, 4.0], [2.0, 3.0]) == 1


@pytest.mark.slow
def test_two_processes_learn_as_well_as_one_over_ten_seeds(tmp_path):
    """Means of the returns of all episodes, and of those of the last quarter."""
    words = [f"ppo {RUN} --seed {seed}" for seed in range(SEEDS)]
    jobs = [[each, str(tmp_path / f"two {seed}"), None] for seed, each in enumerate(words)]
    started = processes.begin(jobs, 2)
    try:
        for seed, each in enumerate(words):
            agent, *options = each.split()
            start_run(read_train_options(agent, options)[0], tmp_path / f"one {seed}")
    finally:
        processes.end(started, 600)

    def returns(name):
        rows = [row["episode/return"] for row in read_metrics(tmp_path / name) if "episode/return" in row]
        return np.mean(rows), np.mean(rows[-len(rows) // 4 :])

    one, two = (np.array([returns(f"{name} {seed}") for seed in range(SEEDS)]) for name in ("one", "two"))
    # Not the same runs: else rounding would not have been among them.
    assert (one != two).any(1).sum() >= SEEDS / 2
    assert one[:, 1].mean() > 2 * 22  # a random policy has 22
    for what, mine, theirs in zip(("all", "last"), one.T, two.T, strict=True):
        chance = chance_of(mine, theirs)
        print(f"{what}: {mine.mean():.1f} in one, {theirs.mean():.1f} in two processes; chance {chance:.2f}")
        assert chance > 0.01
