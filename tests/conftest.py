import functools
import os

import pytest
import torch
from tyro import _docstrings

from palaestra.training.run import build, start
from palaestra.training.settings.config import run_config
from palaestra.training.settings.layers import merge


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small networks are slower with more, large pictures too where another worker has the other cores, and last bits
    would depend on the machine."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(build, "usable_cores", lambda: 1)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_curve():
    """Drawing takes a third of a short run: the first one that ends in this process draws, others leave a copy."""
    drawn, draw = [], start.plot_learning_curve

    def copied(run_dir):
        if not drawn:
            drawn.append(draw(run_dir).read_bytes())
        path = run_dir / "learning_curve.png"
        path.write_bytes(drawn[0])
        return path

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(start, "plot_learning_curve", copied)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_disks():
    """What outlives a crash of the machine is not tested, and the tests that kill do so to processes of their own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def docstrings_read_once():
    """Half of the time of parsing a command line goes into reading what its options say about themselves."""
    read = _docstrings.get_field_docstring
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_docstrings, "get_field_docstring", functools.cache(read))
        yield


@pytest.fixture
def small_config():
    """Config of a run that takes about a second."""

    def make(**changes):
        values = {
            "agent": {"name": "ppo", "rollout_length": 32, "batch_size": 64, "epochs": 2},
            "env": "CartPole-v1",
            "steps": 2000,
            "num_envs": 4,
            "evaluate_episodes": 2,
            "track": "none",
        }
        return run_config(merge(values, changes))

    return make


@pytest.fixture
def offline_wandb(monkeypatch):
    """W&B that logs to disk, with no memory of other tests; its background process ends with the test."""
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    wandb.teardown()


@pytest.fixture
def traced_steps(monkeypatch):
    """Steps are traced, and run as they were traced, without a compiler; returns a list that will hold their graphs."""
    import torch._inductor

    graphs = []

    def compile(graph, inputs, options):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch._inductor, "compile", compile)
    return graphs
