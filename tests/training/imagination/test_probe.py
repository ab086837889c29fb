"""Is the true state in a latent?"""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.envs.make import EnvSpec
from palaestra.envs.tasks.classic import draw_cartpole
from palaestra.training.imagination.probe import mode_shares, probe_run, true_states
from palaestra.training.run.start import start_run
from palaestra.training.settings.config import run_config
from palaestra.training.settings.usage import UsageError
from palaestra.world_models.dynamics.ensemble import Ensemble, EnsembleConfig
from palaestra.world_models.identity import Identity
from palaestra.world_models.model_evaluation import probe_states
from palaestra.world_models.world_model import WorldModel


def test_states_belong_to_what_was_seen():
    spec = EnvSpec("palaestra/CartPolePixels-v0", 1, kwargs={"size": 20}, frame_stack=2)
    obs, states = true_states(spec, 60)
    assert obs.shape == (60, 2, 20, 20, 1) and states.shape == (60, 4)
    np.testing.assert_array_equal(obs[:, 1, :, :, 0], draw_cartpole(states.astype(np.float64), 20))
    begins = [t for t in range(60) if (obs[t, 0] == obs[t, 1]).all() and abs(states[t]).max() <= 0.05]
    assert len(begins) >= 2
    for t in set(range(1, 60)) - set(begins):
        np.testing.assert_array_equal(obs[t, 0], obs[t - 1, 1])
    assert true_states(EnvSpec("CartPole-v1", 1), 5) is None


def test_a_pendulums_angle_has_no_jump():
    _, states = true_states(EnvSpec("palaestra/PendulumPixels-v0", 1, kwargs={"size": 16}), 30)
    np.testing.assert_allclose(np.hypot(states[:, 0], states[:, 1]), 1, atol=1e-6)


def test_a_linear_map_finds_what_is_there_and_less_under_noise():
    space = spaces.Box(-9, 9, (3,), np.float32)
    config = EnsembleConfig(members=2, elites=1, hidden=(4,))
    model = WorldModel(space, spaces.Discrete(2), Identity, Ensemble, dynamics_config=config)
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(2000, 3)).astype(np.float32) * [1, 2, 1]
    model.observation_model.scaler.fit(torch.as_tensor(obs))
    states = np.stack([obs @ [1.0, -2.0, 0.0], rng.normal(size=2000)], 1)
    found, nothing = probe_states(model, obs.astype(np.float32), states)
    assert found > 0.9999 and abs(nothing) < 0.02
    # Signal and noise of the same size, in units of each number's deviation: half is found.
    assert probe_states(model, obs.astype(np.float32), states, noise=1.0)[0] == pytest.approx(0.5, abs=0.06)


def test_shares_of_steps_between_the_ways_and_of_the_rarer_way():
    obs, action = np.zeros((4, 1)), np.ones(4, np.int64)
    real, drawn = np.array([[1.25], [-0.75], [1.3], [1.2]]), np.array([[0.25], [0.3], [-0.75], [1.25]])
    report = mode_shares(EnvSpec("palaestra/Fork-v0", 1), obs, action, real, drawn)
    assert report == {
        "modes_between": {"real": 0.0, "drawn": 0.5},
        "modes_rarer": {"real": 0.25, "drawn": 0.25},
    }
    assert mode_shares(EnvSpec("palaestra/Catch-v0", 1), obs, action, real, drawn) == {}
    assert mode_shares(EnvSpec("CartPole-v1", 1), obs, action, real, drawn) == {}


def test_the_features_of_a_run_are_probed(tmp_path):
    for env, name in (("palaestra/Catch-v0", "catch"), ("CartPole-v1", "cartpole")):
        options = {
            "agent": {"name": "ppo", "rollout_length": 8, "epochs": 2},
            "env": env,
            "steps": 64,
            "num_envs": 4,
        }
        seldom = {"evaluate_every": 64, "evaluate_episodes": 1, "checkpoint_every": 64, "track": "none"}
        start_run(run_config({**options, **seldom}), tmp_path / name)
    # An untrained network of 50 cells still tells where the ball is.
    assert 0.5 < probe_run(tmp_path / "catch") <= 1
    with pytest.raises(UsageError, match="--probe: CartPole-v1 says nothing of its true state"):
        probe_run(tmp_path / "cartpole")
