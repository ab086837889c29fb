import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.networks.optimizer import FlatAdam
from palaestra.world_models.autoencoder import Autoencoder, AutoencoderConfig
from palaestra.world_models.dynamics.ensemble import Ensemble
from palaestra.world_models.identity import Identity, IdentityConfig
from palaestra.world_models.losses import active_units
from palaestra.world_models.observation_networks import (
    ObservationNetworksConfig,
    PictureScaler,
    VectorScaler,
    denoising_input,
    is_convolved,
    observation_scaler,
)
from palaestra.world_models.vae import VAE, VAEConfig
from palaestra.world_models.world_model import WorldModel

VECTOR = spaces.Box(-10, 10, (5,), np.float32)
PICTURE = spaces.Box(0, 255, (20, 32), np.uint8)


def learn(observation_model, obs, steps, batch=64, learning_rate=3e-3):
    observation_model.scaler.fit(obs)
    optimizer, noise = FlatAdam(observation_model), torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(obs), (batch,), generator=noise)
        metrics = optimizer.step(lambda x: observation_model.loss(x, noise), (obs[rows],), learning_rate)
    return metrics


def plane(count=500):
    """Points of a two-dimensional plane in five dimensions."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 2, generator=generator) @ torch.randn(2, 5, generator=generator)


def test_pictures_are_told_from_vectors():
    assert is_convolved(PICTURE) and is_convolved(spaces.Box(0, 1, (3, 64, 64), np.float32))
    assert not is_convolved(VECTOR)
    assert not is_convolved(spaces.Box(0, 255, (10, 10, 3), np.uint8))
    assert not is_convolved(spaces.Box(-np.inf, np.inf, (32, 32), np.float32))


@pytest.mark.parametrize("shape", [(20, 32), (20, 32, 3), (7, 20, 32), (2, 20, 32, 3), (2, 3, 20, 32)])
def test_pictures_there_and_back(shape):
    scaler = PictureScaler(spaces.Box(0, 255, shape, np.uint8))
    obs = torch.randint(256, (4, *shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    x = scaler(obs)
    assert x.shape[2:] == (20, 32) and x.min() >= 0 and x.max() <= 1
    torch.testing.assert_close(scaler.inverse(x), obs.float())
    if shape == (2, 20, 32, 3):
        # The newest frame's blue is the last channel.
        torch.testing.assert_close(x[:, -1] * 255, obs[:, 1, :, :, 2].float())


@pytest.mark.parametrize(("shape", "planes"), [((64, 64, 9), (9, 64, 64)), ((9, 64, 64), (9, 64, 64))])
def test_many_channels_are_read_as_the_networks_read_them(shape, planes):
    """Fails where (64, 64, 9) is 64 channels of 64x9."""
    scaler = observation_scaler(spaces.Box(0, 255, shape, np.uint8))
    assert isinstance(scaler, PictureScaler) and scaler.picture == planes


def test_small_pictures_are_vectors_in_the_range_of_the_picture():
    scaler = observation_scaler(spaces.Box(0, 255, (4, 4), np.uint8))
    assert isinstance(scaler, VectorScaler)
    obs = torch.zeros(3, 4, 4, dtype=torch.uint8)
    obs[0, 0, 0] = 51
    scaler.fit(obs)  # where nothing else than 0 was in the data, a pixel's own deviation would be no unit
    assert scaler(obs).tolist() == [[pytest.approx(0.2)] + [0] * 15, [0] * 16, [0] * 16]
    torch.testing.assert_close(scaler.inverse(scaler(obs)), obs.float())


def test_huge_bounds_are_none():
    huge = np.finfo(np.float32)
    scaler = observation_scaler(spaces.Box(huge.min, huge.max, (32, 32, 3), np.float32))
    assert isinstance(scaler, VectorScaler) and scaler.measured


def test_vectors_there_and_back_and_within_bounds():
    scaler = VectorScaler(VECTOR)
    obs = torch.tensor([[1.0, 2, 3, 4, 5], [3.0, 2, 5, 8, 9]])
    scaler.fit(obs)
    # Deviation of (1, 3) is sqrt 2; what never varies keeps its unit.
    torch.testing.assert_close(scaler(obs)[0], torch.tensor([-1, 0, -1, -1, -1]) / 2**0.5)
    torch.testing.assert_close(scaler.inverse(scaler(obs)), obs)
    assert scaler.inverse(torch.full((1, 5), 100.0)).max() == 10


def test_pictures_of_signed_bytes():
    scaler = PictureScaler(spaces.Box(-128, 127, (20, 32), np.int8))
    assert (scaler.low, scaler.range, scaler.unit) == (-128.0, 255.0, 255.0)
    obs = torch.arange(-128, 127, dtype=torch.int16).to(torch.int8)[:20, None].expand(20, 32)[None]
    assert scaler(obs).min() == 0 and scaler(obs).max() == pytest.approx(19 / 255)
    torch.testing.assert_close(scaler.inverse(scaler(obs)), obs.float())


def test_the_largest_float_is_no_bound():
    largest = np.finfo(np.float32).max
    assert not is_convolved(spaces.Box(-largest, largest, (32, 32), np.float32))
    assert not is_convolved(spaces.Box(0, largest, (3, 64, 64), np.float32))
    assert is_convolved(spaces.Box(-128, 127, (32, 32), np.int8))


def test_vectors_in_tiny_units_vary():
    scaler = VectorScaler(spaces.Box(-np.inf, np.inf, (3,), np.float32))
    scaler.fit(torch.tensor([[1e-7, 4e-7, 1000.0], [3e-7, 4e-7, 1000.00006]]))
    # Deviation of (1, 3) is sqrt 2; a constant, and one that only rounding changes, keep their unit.
    assert scaler.deviation.tolist() == pytest.approx([2**0.5 * 1e-7, 1.0, 1.0])
    scaler.fit(torch.tensor([[5.0, 0.0, 0.0]]))
    assert scaler.deviation.tolist() == [1.0] * 3


def test_identity_loses_nothing():
    observation_model = Identity(VECTOR, IdentityConfig())
    obs = plane()
    observation_model.scaler.fit(obs)
    assert observation_model.latent_size == 5 and not list(observation_model.parameters())
    torch.testing.assert_close(observation_model.decode(observation_model.encode(obs)), obs)


def test_an_autoencoder_finds_the_plane():
    torch.manual_seed(0)
    observation_model, obs = Autoencoder(VECTOR, AutoencoderConfig(latent_size=2, hidden=(32,))), plane()
    learn(observation_model, obs, 600, learning_rate=1e-2)
    error = (observation_model.decode(observation_model.encode(obs)) - obs).square().mean() / obs.var()
    assert error < 0.01


def test_a_vae_gives_what_its_loss_says():
    torch.manual_seed(0)
    config = VAEConfig(latent_size=3, hidden=(8,), beta=2.0, free_nats=1.5, observation_std=0.5)
    observation_model, obs = VAE(VECTOR, config), plane(50)
    noise = torch.Generator().manual_seed(7)
    loss, metrics = observation_model.loss(obs, noise)
    mean, log_variance = observation_model.posterior(obs)
    normals = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    kl = torch.distributions.kl_divergence(normals, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    drawn = torch.randn(mean.shape, generator=torch.Generator().manual_seed(7))
    decoded = observation_model.decoder(mean + drawn * (0.5 * log_variance).exp())
    reconstruction = -torch.distributions.Normal(decoded, 0.5).log_prob(obs).sum(-1).mean()
    torch.testing.assert_close(loss, reconstruction + 2.0 * kl.clamp(min=1.5).mean())
    torch.testing.assert_close(metrics["loss/elbo"], -(reconstruction + kl.mean()))


def test_a_vae_learns_and_a_collapsed_one_is_noticed():
    obs = plane()
    active = {}
    for beta in (1.0, 1e4):
        torch.manual_seed(0)
        observation_model = VAE(
            VECTOR, VAEConfig(latent_size=4, hidden=(32,), beta=beta, observation_std=0.3)
        )
        metrics = learn(observation_model, obs, 500)
        active[beta] = active_units(observation_model.encode(obs))
    assert active == {1.0: 2, 1e4: 0}
    assert metrics["loss/kl"] < 0.01


def test_a_learned_deviation_is_that_of_the_noise():
    # Pure noise of deviation 1 (after scaling): nothing can be prediction about it but that.
    torch.manual_seed(0)
    obs = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0))
    observation_model = VAE(
        VECTOR, VAEConfig(latent_size=1, hidden=(8,), beta=1e3, observation_std=0.5, learn_std=True)
    )
    metrics = learn(observation_model, obs, 500, batch=256, learning_rate=1e-2)
    assert metrics["latent/observation_std"] == pytest.approx(1.0, abs=0.05)


def test_a_learned_deviation_has_a_floor():
    config = VAEConfig(latent_size=1, hidden=(4,), observation_std=0.2, learn_std=True)
    observation_model, obs = VAE(PICTURE, config), torch.zeros(8, 20, 32, dtype=torch.uint8)
    assert observation_model.observation_log_std().exp().item() == pytest.approx(0.2)
    losses = []
    for log_std in (-1e2, -1e4):
        torch.nn.init.constant_(observation_model.log_std, log_std)
        assert observation_model.observation_log_std().item() == -6.0
        losses.append(observation_model.loss(obs, torch.Generator().manual_seed(0))[0].item())
    assert np.isfinite(losses).all() and losses[0] == losses[1]
    # What is not learned is what the config says, however small.
    assert VAE(VECTOR, VAEConfig(observation_std=1e-3)).observation_log_std().exp().item() == pytest.approx(
        1e-3
    )
    with pytest.raises(ValueError, match="observation_std: must be above"):
        VAEConfig(observation_std=1e-3, learn_std=True)


def test_old_state_dicts_load():
    torch.manual_seed(0)
    model = WorldModel(VECTOR, spaces.Discrete(2), Autoencoder, Ensemble)
    old = {
        (
            "coder." + key.removeprefix("observation_model.") if key.startswith("observation_model.") else key
        ): x
        for key, x in model.state_dict().items()
    }
    assert "coder.encoder.0.weight" in old
    again = WorldModel(VECTOR, spaces.Discrete(2), Autoencoder, Ensemble)
    again.load_state_dict(old)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        again.load_state_dict({**old, "coders.x": torch.zeros(1)})


@pytest.mark.parametrize("make", [VAE, Autoencoder])
def test_pictures_through_convolutions(make):
    torch.manual_seed(0)
    observation_model = make(PICTURE, make.Config(latent_size=4, depth=2))
    obs = torch.zeros(40, 20, 32, dtype=torch.uint8)
    for n in range(40):
        obs[n, 4:12, n % 8 * 3 : n % 8 * 3 + 8] = 255
    learn(observation_model, obs, 100, batch=16, learning_rate=1e-2)
    decoded = observation_model.decode(observation_model.encode(obs))
    assert decoded.shape == obs.shape and observation_model.encode(obs).shape == (40, 4)
    error = ((decoded - obs.float()) / 255).square().mean().item()
    assert error < 0.2 * (obs.float() / 255).var(0).mean().item()


def test_corruption_hides_and_adds_noise():
    x = torch.ones(200, 100)
    hidden = denoising_input(
        x, ObservationNetworksConfig(hidden_share=0.25), torch.Generator().manual_seed(0)
    )
    assert set(hidden.unique().tolist()) == {0.0, 1.0}
    assert hidden.mean().item() == pytest.approx(0.75, abs=0.01)
    noisy = denoising_input(x, ObservationNetworksConfig(noise=0.3), torch.Generator().manual_seed(0))
    assert noisy.std().item() == pytest.approx(0.3, abs=0.01)
    assert denoising_input(x, ObservationNetworksConfig(), torch.Generator()) is x


def test_a_denoising_encoder_finds_more_in_noisy_observations():
    obs, errors = plane(1000), {}
    noisy = obs + 1.0 * obs.std(0) * torch.randn(obs.shape, generator=torch.Generator().manual_seed(3))
    for noise in (0.0, 1.0):
        torch.manual_seed(0)
        observation_model = Autoencoder(VECTOR, AutoencoderConfig(latent_size=5, hidden=(64,), noise=noise))
        learn(observation_model, obs, 500)
        errors[noise] = (
            (observation_model.decode(observation_model.encode(noisy)) - obs).square().mean().item()
        )
    assert errors[1.0] < 0.8 * errors[0.0]


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Dict({"a": VECTOR})])
def test_other_observations_are_refused(space):
    with pytest.raises(TypeError, match="world models take Box observations"):
        VAE(space, VAEConfig())


def test_identity_refuses_pictures():
    with pytest.raises(TypeError, match="use vae or autoencoder"):
        Identity(PICTURE, IdentityConfig())
