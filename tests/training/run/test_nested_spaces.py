"""Environments with Dict and Tuple actions, and keys in an order of their own: trained, resumed exactly, loaded."""

import shutil

import gymnasium
import numpy as np
import pytest

from palaestra.loading import load_policy
from palaestra.training.run.resuming import resume_run
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import TENSORS, latest_checkpoint, list_checkpoints
from palaestra.training.settings.config import run_config

from .nested_env import Nested


@pytest.fixture(autouse=True)
def registered():
    before = dict(gymnasium.registry)
    gymnasium.register("Nested-v0", Nested)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


@pytest.mark.parametrize(
    ("agent", "choices", "more"),
    [
        ({"name": "ppo", "rollout_length": 20}, False, {"backend": "sync", "show_previous": True}),
        ({"name": "ppo", "rollout_length": 20, "squash": True}, False, {"backend": "async"}),
        ({"name": "reinforce", "steps_per_update": 100}, False, {"backend": "sync", "memory": "gru"}),
        pytest.param(
            {"name": "dqn", "learning_starts": 50, "replay_capacity": 150},
            True,
            {"backend": "async"},
            marks=pytest.mark.slow,
        ),
        ({"name": "pqn", "rollout_length": 20}, True, {"backend": "sync"}),
    ],
)
def test_a_run_goes_on_exactly(agent, choices, more, tmp_path):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    clocks = {"steps": 400, "num_envs": 2, "checkpoint_every": 101, "evaluate_every": 400, "track": "none"}
    clocks["evaluate_episodes"] = 1
    config = run_config(
        {"agent": agent, "env": "Nested-v0", "env_kwargs": {"choices": choices}, **clocks, **more}
    )
    start_run(config, straight)
    shutil.copytree(straight, resumed)
    shutil.rmtree(list_checkpoints(resumed)[-1])
    resume_run(resumed)
    ends = [(latest_checkpoint(run) / TENSORS).read_bytes() for run in (straight, resumed)]
    assert ends[0] == ends[1]

    policy = load_policy(straight)
    obs = {"zoom": np.full((2, 2), 0.3, np.float32), "angle": np.float32([0.1])}
    if "show_previous" in more:
        return
    one, _ = policy.predict(obs, deterministic=True)
    turned, _ = policy.predict(dict(reversed(obs.items())), deterministic=True)
    assert one in Nested(choices).action_space
    both, _ = policy.predict({key: np.stack([part, part]) for key, part in obs.items()}, deterministic=True)
    for action in (turned, {"kind": both["kind"][1], "deep": (both["deep"][0][1],)}):
        assert action["kind"] == one["kind"] and (action["deep"][0] == one["deep"][0]).all()
