"""Code from outside may draw from the global generators of torch, NumPy and Python; a run has its own then."""

import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from palaestra.training.run.generators import GlobalGenerators
from palaestra.training.run.resuming import resume_run
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import TENSORS, latest_checkpoint
from palaestra.training.settings.config import run_config
from palaestra.training.settings.trust import trusting

CONFIG = {
    "agent": {"name": "ppo", "rollout_length": 32},
    "env": "CartPole-v1",
    "steps": 1024,
    "num_envs": 4,
    "backend": "sync",
    "encoder": {"name": f"{__name__}:Dropping"},
    "evaluate_every": 512,
    "evaluate_episodes": 1,
    "track": "none",
}


def test_a_run_with_code_from_outside_is_reproduced_and_resumed_exactly(tmp_path):
    def run(name, steps, resumed=None):
        torch.manual_seed(random.randrange(2**31))  # whatever the program has done before
        with trusting(everything=True):
            start_run(run_config(CONFIG | {"steps": steps, "schedule_steps": 1024}), tmp_path / name)
            if resumed is not None:
                torch.rand(17), np.random.rand(3), random.random()
                resume_run(tmp_path / name, resumed)
        return load_file(latest_checkpoint(tmp_path / name) / TENSORS)

    alone, again, resumed = run("alone", 1024), run("again", 1024), run("resumed", 512, 1024)
    for other in (again, resumed):
        assert alone.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in alone.items() if "clock" not in name)


def test_the_generators_of_the_program_stay_where_they_are(tmp_path):
    before = GlobalGenerators().state_dict()
    with trusting(everything=True):
        start_run(run_config(CONFIG | {"steps": 256}), tmp_path / "run")
    after = GlobalGenerators().state_dict()
    assert torch.equal(before["torch"], after["torch"]) and before["python"] == after["python"]
    assert np.array_equal(before["numpy"]["state"]["key"], after["numpy"]["state"]["key"])


def test_checkpoints_of_before_go_on(tmp_path, monkeypatch):
    """They have no generators."""
    from palaestra.training.run import loop

    with monkeypatch.context() as patched, trusting(everything=True):
        patched.setattr(loop, "generators_of_run", lambda config: loop.closing(NoGenerators()))
        start_run(run_config(CONFIG | {"steps": 256}), tmp_path / "run")
    with trusting(everything=True):
        assert resume_run(tmp_path / "run", 512).step == 512


class NoGenerators(dict):
    def close(self):
        pass


@pytest.fixture(autouse=True)
def dropping(monkeypatch):
    """An encoder as users write them."""
    from dataclasses import dataclass

    from torch import nn

    from palaestra.networks.torso import Encoder

    @dataclass(frozen=True)
    class Config:
        size: int = 16

    class Dropping(Encoder):
        shared_by_default = True

        def __init__(self, space, config):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, config.size), nn.Dropout(0.5))
            self.size = config.size

        def forward(self, obs):
            return self.layers(obs)

    Dropping.Config = Config
    monkeypatch.setitem(globals(), "Dropping", Dropping)
