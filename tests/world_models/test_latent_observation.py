import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from palaestra.world_models.autoencoder import Autoencoder, AutoencoderConfig
from palaestra.world_models.dynamics.ensemble import Ensemble, EnsembleConfig
from palaestra.world_models.latent_observation import LatentObservation
from palaestra.world_models.world_model import WorldModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    space = gymnasium.make("CartPole-v1").observation_space
    observation_model, dynamics = (
        AutoencoderConfig(latent_size=3, hidden=(8,)),
        EnsembleConfig(members=2, elites=1, hidden=(4,)),
    )
    return WorldModel(space, spaces.Discrete(2), Autoencoder, Ensemble, observation_model, dynamics)


@pytest.mark.parametrize("mode", AutoresetMode)
def test_all_that_is_shown_is_a_latent(model, mode):
    def make():
        return SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 3, autoreset_mode=mode)

    plain, env = make(), LatentObservation(make(), model)
    encode = lambda obs: model.encode(torch.as_tensor(obs)).detach().numpy()  # noqa: E731
    np.testing.assert_allclose(env.reset(seed=0)[0], encode(plain.reset(seed=0)[0]), atol=1e-6)
    ends = 0
    for _ in range(12):
        actions = np.array([0, 1, 1])
        (shown, *others, info), (obs, *expected, told) = env.step(actions), plain.step(actions)
        assert shown in env.observation_space
        np.testing.assert_allclose(shown, encode(obs), atol=1e-6)
        for left, right in zip(others, expected, strict=True):
            np.testing.assert_array_equal(left, right)
        for i in np.flatnonzero(told.get("_final_obs", [])):
            np.testing.assert_allclose(info["final_obs"][i], encode(told["final_obs"][i][None])[0], atol=1e-6)
        done = expected[1] | expected[2]
        ends += done.sum()
        if mode is AutoresetMode.DISABLED and done.any():
            options = {"reset_mask": done}
            np.testing.assert_allclose(
                env.reset(options=dict(options))[0], encode(plain.reset(options=options)[0]), atol=1e-6
            )
    assert ends >= 3


def test_other_observations_are_refused(model):
    with pytest.raises(ValueError, match="the world model encodes observations Box"):
        LatentObservation(SyncVectorEnv([lambda: gymnasium.make("Acrobot-v1")]), model)
