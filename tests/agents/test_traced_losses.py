"""Every loss that may be compiled can be traced; what was traced runs here as it is, without a compiler."""

import pytest

from palaestra.training.run.start import start_run
from palaestra.training.settings.config import run_config
from palaestra.training.settings.layers import merge

SMALL = {
    "steps": 300,
    "num_envs": 2,
    "evaluate_episodes": 1,
    "track": "none",
    "compile": "on",
    "device": "cpu",
}
ROLLOUT = {"rollout_length": 16}
REPLAY = {"learning_starts": 50, "batch_size": 16, "train_every": 32, "gradient_steps": 1}
RUNS = {
    "ppo": {"agent": {"name": "ppo", **ROLLOUT}, "env": "CartPole-v1", "encoder": {"normalize": True}},
    "ppo, odd last minibatch, one torso": {
        "agent": {
            "name": "ppo",
            "rollout_length": 15,
            "batch_size": 16,
            "share_torso": True,
            "value_clip_range": 0.2,
        },
        "env": "CartPole-v1",
    },
    "ppo, Box": {"agent": {"name": "ppo", **ROLLOUT, "squash": True}, "env": "Pendulum-v1"},
    "ppo, LSTM": {
        "agent": {"name": "ppo", **ROLLOUT, "sequence_length": 8, "batch_size": 16},
        "env": "CartPole-v1",
        "memory": {"name": "lstm", "hidden": 16},
    },
    "ppo, GRU": {
        "agent": {"name": "ppo", **ROLLOUT, "share_torso": True},
        "env": "CartPole-v1",
        "memory": {"name": "gru", "hidden": 16},
    },
    "ppo, masks": {"agent": {"name": "ppo", **ROLLOUT}, "env": "Taxi-v4"},
    "ppo, contrastive": {
        "agent": {"name": "ppo", **ROLLOUT},
        "env": "CartPole-v1",
        "auxiliary": {"name": "curl", "batch_size": 8},
    },
    "reinforce": {"agent": {"name": "reinforce", "steps_per_update": 100}, "env": "CartPole-v1"},
    "pqn": {"agent": {"name": "pqn", **ROLLOUT}, "env": "CartPole-v1"},
    "dqn": {"agent": {"name": "dqn", **REPLAY}, "env": "CartPole-v1"},
    "rainbow": {
        "agent": {
            **{
                "name": "dqn",
                **REPLAY,
                "distribution": "c51",
                "dueling": True,
                "value_min": 0,
                "value_max": 500,
                "n_step": 3,
                "prioritized": True,
            }
        },
        "env": "CartPole-v1",
    },
    "ddpg": {"agent": {"name": "ddpg", **REPLAY}, "env": "Pendulum-v1"},
    "td3": {
        "agent": {"name": "ddpg", **REPLAY, "twin_critics": True, "policy_delay": 2, "target_smoothing": 0.2},
        "env": "Pendulum-v1",
    },
}


@pytest.mark.parametrize("values", RUNS.values(), ids=RUNS)
def test_a_loss_is_traced(values, tmp_path, traced_steps):
    # Whoever falls back to steps without tracing warns, and warnings are errors.
    start_run(run_config(merge(SMALL, values)), tmp_path / "run")
    assert traced_steps
