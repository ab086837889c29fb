import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.networks.optimizer import FlatAdam
from palaestra.world_models.autoencoder import Autoencoder, AutoencoderConfig
from palaestra.world_models.coding import (
    NetworksConfig,
    Pictures,
    Vectors,
    corrupt,
    is_convolved,
    observation_scaler,
)
from palaestra.world_models.identity import Identity, IdentityConfig
from palaestra.world_models.losses import active_units
from palaestra.world_models.vae import VAE, VAEConfig

VECTOR = spaces.Box(-10, 10, (5,), np.float32)
PICTURE = spaces.Box(0, 255, (20, 32), np.uint8)


def learn(coder, obs, steps, batch=64, learning_rate=3e-3):
    coder.scaler.fit(obs)
    optimizer, noise = FlatAdam(coder), torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(obs), (batch,), generator=noise)
        metrics = optimizer.step(lambda x: coder.loss(x, noise), (obs[rows],), learning_rate)
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
    scaler = Pictures(spaces.Box(0, 255, shape, np.uint8))
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
    assert isinstance(scaler, Pictures) and scaler.picture == planes


def test_small_pictures_are_vectors_in_the_range_of_the_picture():
    scaler = observation_scaler(spaces.Box(0, 255, (4, 4), np.uint8))
    assert isinstance(scaler, Vectors)
    obs = torch.zeros(3, 4, 4, dtype=torch.uint8)
    obs[0, 0, 0] = 51
    scaler.fit(obs)  # where nothing else than 0 was in the data, a pixel's own deviation would be no unit
    assert scaler(obs).tolist() == [[pytest.approx(0.2)] + [0] * 15, [0] * 16, [0] * 16]
    torch.testing.assert_close(scaler.inverse(scaler(obs)), obs.float())


def test_huge_bounds_are_none():
    huge = np.finfo(np.float32)
    scaler = observation_scaler(spaces.Box(huge.min, huge.max, (32, 32, 3), np.float32))
    assert isinstance(scaler, Vectors) and scaler.measured


def test_vectors_there_and_back_and_within_bounds():
    scaler = Vectors(VECTOR)
    obs = torch.tensor([[1.0, 2, 3, 4, 5], [3.0, 2, 5, 8, 9]])
    scaler.fit(obs)
    # Deviation of (1, 3) is sqrt 2; what never varies keeps its unit.
    torch.testing.assert_close(scaler(obs)[0], torch.tensor([-1, 0, -1, -1, -1]) / 2**0.5)
    torch.testing.assert_close(scaler.inverse(scaler(obs)), obs)
    assert scaler.inverse(torch.full((1, 5), 100.0)).max() == 10


def test_identity_loses_nothing():
    coder = Identity(VECTOR, IdentityConfig())
    obs = plane()
    coder.scaler.fit(obs)
    assert coder.latent_size == 5 and not list(coder.parameters())
    torch.testing.assert_close(coder.decode(coder.encode(obs)), obs)


def test_an_autoencoder_finds_the_plane():
    torch.manual_seed(0)
    coder, obs = Autoencoder(VECTOR, AutoencoderConfig(latent_size=2, hidden=(32,))), plane()
    learn(coder, obs, 600, learning_rate=1e-2)
    error = (coder.decode(coder.encode(obs)) - obs).square().mean() / obs.var()
    assert error < 0.01


def test_a_vae_gives_what_its_loss_says():
    torch.manual_seed(0)
    config = VAEConfig(latent_size=3, hidden=(8,), beta=2.0, free_nats=1.5, observation_std=0.5)
    coder, obs = VAE(VECTOR, config), plane(50)
    noise = torch.Generator().manual_seed(7)
    loss, metrics = coder.loss(obs, noise)
    mean, log_variance = coder.posterior(obs)
    normals = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    kl = torch.distributions.kl_divergence(normals, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    drawn = torch.randn(mean.shape, generator=torch.Generator().manual_seed(7))
    decoded = coder.decoder(mean + drawn * (0.5 * log_variance).exp())
    reconstruction = -torch.distributions.Normal(decoded, 0.5).log_prob(obs).sum(-1).mean()
    torch.testing.assert_close(loss, reconstruction + 2.0 * kl.clamp(min=1.5).mean())
    torch.testing.assert_close(metrics["loss/elbo"], -(reconstruction + kl.mean()))


def test_a_vae_learns_and_a_collapsed_one_is_noticed():
    obs = plane()
    active = {}
    for beta in (1.0, 1e4):
        torch.manual_seed(0)
        coder = VAE(VECTOR, VAEConfig(latent_size=4, hidden=(32,), beta=beta, observation_std=0.3))
        metrics = learn(coder, obs, 500)
        active[beta] = active_units(coder.encode(obs))
    assert active == {1.0: 2, 1e4: 0}
    assert metrics["loss/kl"] < 0.01


def test_a_learned_deviation_is_that_of_the_noise():
    # Pure noise of deviation 1 (after scaling): nothing can be said about it but that.
    torch.manual_seed(0)
    obs = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0))
    coder = VAE(VECTOR, VAEConfig(latent_size=1, hidden=(8,), beta=1e3, observation_std=0.5, learn_std=True))
    metrics = learn(coder, obs, 500, batch=256, learning_rate=1e-2)
    assert metrics["latent/observation_std"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("make", [VAE, Autoencoder])
def test_pictures_through_convolutions(make):
    torch.manual_seed(0)
    coder = make(PICTURE, make.Config(latent_size=4, depth=2))
    obs = torch.zeros(40, 20, 32, dtype=torch.uint8)
    for n in range(40):
        obs[n, 4:12, n % 8 * 3 : n % 8 * 3 + 8] = 255
    learn(coder, obs, 100, batch=16, learning_rate=1e-2)
    decoded = coder.decode(coder.encode(obs))
    assert decoded.shape == obs.shape and coder.encode(obs).shape == (40, 4)
    error = ((decoded - obs.float()) / 255).square().mean().item()
    assert error < 0.2 * (obs.float() / 255).var(0).mean().item()


def test_corruption_hides_and_adds_noise():
    x = torch.ones(200, 100)
    hidden = corrupt(x, NetworksConfig(hidden_share=0.25), torch.Generator().manual_seed(0))
    assert set(hidden.unique().tolist()) == {0.0, 1.0}
    assert hidden.mean().item() == pytest.approx(0.75, abs=0.01)
    noisy = corrupt(x, NetworksConfig(noise=0.3), torch.Generator().manual_seed(0))
    assert noisy.std().item() == pytest.approx(0.3, abs=0.01)
    assert corrupt(x, NetworksConfig(), torch.Generator()) is x


def test_a_denoising_encoder_finds_more_in_noisy_observations():
    obs, errors = plane(1000), {}
    noisy = obs + 1.0 * obs.std(0) * torch.randn(obs.shape, generator=torch.Generator().manual_seed(3))
    for noise in (0.0, 1.0):
        torch.manual_seed(0)
        coder = Autoencoder(VECTOR, AutoencoderConfig(latent_size=5, hidden=(64,), noise=noise))
        learn(coder, obs, 500)
        errors[noise] = (coder.decode(coder.encode(noisy)) - obs).square().mean().item()
    assert errors[1.0] < 0.8 * errors[0.0]


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Dict({"a": VECTOR})])
def test_other_observations_are_refused(space):
    with pytest.raises(TypeError, match="world models take Box observations"):
        VAE(space, VAEConfig())


def test_identity_refuses_pictures():
    with pytest.raises(TypeError, match="use vae or autoencoder"):
        Identity(PICTURE, IdentityConfig())
