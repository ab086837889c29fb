"""Locks and corridors: solved with a bonus for what is new, and not without."""

import json

import gymnasium
import pytest

from palaestra.training.run.start import start_run
from palaestra.training.settings.config import run_config
from palaestra.training.tracking.metrics_file import read_metrics

LENGTH = 12


class Lock(gymnasium.Env):
    """The right choice opens the next of twelve bolts, a wrong one ends the episode; reward 1 for the last bolt."""

    observation_space = gymnasium.spaces.Discrete(LENGTH + 1)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bolt = 0
        return 0, {}

    def step(self, action):
        right = action == self.bolt % 2
        self.bolt += int(right)
        opened = self.bolt == LENGTH
        return self.bolt, float(opened), opened or not right, False, {}


@pytest.fixture(autouse=True, scope="module")
def registered():
    gymnasium.register("Lock-v0", Lock)
    yield
    del gymnasium.registry["Lock-v0"]


def final(tmp_path, **options):
    """Return of the last evaluation, and the last row that tells of coverage."""
    values = {
        "agent": {"name": "ppo", "rollout_length": 32, "learning_rate": 0.003},
        **{"env": "Lock-v0", "steps": 8000, "backend": "sync", "track": "none", "evaluate_every": 8000},
        **options,
    }
    start_run(run_config(values), tmp_path)
    rows = [row["bonus/coverage"] for row in read_metrics(tmp_path) if "bonus/coverage" in row]
    return json.loads((tmp_path / "evaluations.json").read_text())[-1]["return_mean"], rows[-1]


def test_a_bonus_opens_the_lock(tmp_path):
    value, coverage = final(tmp_path / "bonus", bonus={"name": "count"})
    assert value == 1.0 and coverage == LENGTH + 1
    value, coverage = final(tmp_path / "plain", bonus={"name": "count", "scale": 0.0})
    assert value == 0.0 and coverage < LENGTH + 1
    # What is reported of episodes is the environment's own.
    returns = [row["episode/return"] for row in read_metrics(tmp_path / "bonus") if "episode/return" in row]
    assert max(returns) <= 1.0


@pytest.mark.slow
def test_what_is_out_of_reach_leads_to_the_end_of_the_corridor(tmp_path):
    """A coin lures the other way. Seed 0, on which a history of the latest steps dies (docs/representation.md)."""
    corridor = {
        **{"env": "palaestra/Corridor-v0", "env_kwargs": {"size": 60, "max_episode_steps": 200}},
        **{"agent": "ppo", "steps": 20_000, "evaluate_every": 20_000},
    }
    cells = {"cell": 0.005}
    value, _ = final(tmp_path / "bonus", **corridor, bonus={"name": "reachability", **cells})
    areas = [row["bonus/auc"] for row in read_metrics(tmp_path / "bonus") if "bonus/auc" in row]
    assert value > 0 and min(areas[-20:]) > 0.8 and sum(areas[-20:]) / 20 > 0.9
    value, _ = final(tmp_path / "plain", **corridor, bonus={"name": "count", "scale": 0.0, **cells})
    assert value < -1.5
