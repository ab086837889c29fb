"""An environment that fails in the middle of a run."""

import json

import numpy as np
import pytest

from palaestra.envs.make import EnvSpec, make_envs
from palaestra.training.cli.main import run
from palaestra.training.run.collect import Collector, RandomActor
from palaestra.training.run.storage.checkpoint import STATE, TENSORS, latest_checkpoint, list_checkpoints

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
OPTIONS += ["--agent.rollout-length", "32", "--agent.epochs", "2", "--encoder.hidden", "8"]


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
    del state["clock"]["seconds"], state["clock"]["cpu"]
    return (latest_checkpoint(run_dir) / TENSORS).read_bytes(), state


@pytest.mark.parametrize(("every", "start"), [("100", "the checkpoint of step "), ("5000", "the beginning")])
def test_a_failed_run_goes_on_from_its_last_checkpoint_as_if_nothing_had_happened(here, capsys, every, start):
    options = [*OPTIONS, "--checkpoint-every", every]
    assert train("ppo", *options, "--out", "alone") == 0
    (here / "broken").touch()
    assert train("ppo", *options, "--out", "failed") == 1
    error = capsys.readouterr().err
    assert 'raise OSError("sensor lost")' in error  # where the environment's author has to look
    assert "\nerror: environment " in error and " failed: OSError: sensor lost (episode seed " in error
    assert (
        f"\nwhen it is repaired, go on from {start}" in error
        and "palaestra train --resume failed --trust\n" in error
    )
    assert "--env.on-error restart" in error
    # Nothing is saved of the step that failed.
    steps = [int(path.name) for path in list_checkpoints(here / "failed")]
    assert steps == ([] if every == "5000" else sorted(steps)) and all(0 < step < 1500 for step in steps)
    assert every == "5000" or (f"step {steps[-1]:,}" in error and steps[-1] % 100 == 0)
    (here / "broken").unlink()
    assert train("--resume", "failed", "--trust") == 0
    assert left_by(here / "failed") == left_by(here / "alone")


def test_a_checkpoint_that_holds_the_action_of_a_failed_step_loads(here):
    """Version 0.1.0 saved such ones when an environment failed."""
    envs = make_envs(EnvSpec("CartPole-v1", 2))
    collector = Collector(RandomActor(envs.action_space, 2, 0), envs)
    collector.step()
    action, memory = np.zeros(2, np.int64), np.zeros((2, 0), np.float32)
    collector.load_state_dict({**collector.state_dict(), "chosen": [action, memory]})
    collector.step()


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
    assert run(["evaluate", "run", "--episodes", "2", "--trust"]) == 0
