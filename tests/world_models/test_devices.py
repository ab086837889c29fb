"""No operation takes tensors of two devices: `meta` stands in for an accelerator, and every mixture is refused."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from palaestra.world_models.autoencoder import Autoencoder, AutoencoderConfig
from palaestra.world_models.datasets import EpisodeDataset, RecordedEpisode
from palaestra.world_models.dream import Dream, DreamConfig, find_starts
from palaestra.world_models.dynamics.adversarial import Adversarial, AdversarialConfig
from palaestra.world_models.dynamics.ensemble import Ensemble, EnsembleConfig
from palaestra.world_models.dynamics.mdn_rnn import MDNRNN, MDNRNNConfig
from palaestra.world_models.dynamics.rssm import RSSM, RSSMConfig
from palaestra.world_models.dynamics.transformer import TransformerDynamics, TransformerDynamicsConfig
from palaestra.world_models.fit import Fit, FitConfig
from palaestra.world_models.identity import Identity
from palaestra.world_models.latent_observation import LatentObservation
from palaestra.world_models.model_evaluation import (
    evaluation_report,
    open_loop_example,
    probe_states,
    traversals,
)
from palaestra.world_models.prediction_heads import PredictionHeadsConfig
from palaestra.world_models.semi_supervised import SemiSupervisedVAE, SemiSupervisedVAEConfig
from palaestra.world_models.vae import VAE, VAEConfig
from palaestra.world_models.world_model import SequenceBatch, WorldModel

ATEN = torch.ops.aten
SECOND = torch.device("meta")
VECTOR = spaces.Box(-10, 10, (3,), np.float32)
PICTURE = spaces.Box(0, 255, (16, 16, 3), np.uint8)
ACTIONS = {"discrete": spaces.Discrete(3, start=1), "box": spaces.Box(-1, 1, (2,), np.float32)}
OBSERVATION_MODELS = {
    "identity": (VECTOR, Identity, None),
    "autoencoder": (
        VECTOR,
        Autoencoder,
        AutoencoderConfig(latent_size=2, hidden=(4,), noise=0.1, hidden_share=0.1),
    ),
    "vae": (VECTOR, VAE, VAEConfig(latent_size=2, hidden=(4,))),
    "sigma_vae": (VECTOR, VAE, VAEConfig(latent_size=2, hidden=(4,), learn_std=True)),
    "semi_supervised": (
        VECTOR,
        SemiSupervisedVAE,
        SemiSupervisedVAEConfig(latent_size=2, hidden=(4,), fraction=1.0),
    ),
    "autoencoder_pictures": (PICTURE, Autoencoder, AutoencoderConfig(latent_size=2, depth=2, noise=0.1)),
    "vae_pictures": (PICTURE, VAE, VAEConfig(latent_size=2, depth=2)),
}
DYNAMICS = {
    "adversarial": (Adversarial, AdversarialConfig(hidden=(4,), noise_size=2)),
    "ensemble": (Ensemble, EnsembleConfig(members=3, elites=2, hidden=(4,))),
    "mdn_rnn": (MDNRNN, MDNRNNConfig(hidden_size=4, components=2)),
    "rssm": (RSSM, RSSMConfig(deterministic=4, groups=2, classes=2, hidden=(4,))),
    "transformer": (TransformerDynamics, TransformerDynamicsConfig(context=4, size=4, layers=1, heads=2)),
}


class OneDeviceOnly(TorchDispatchMode):
    """Refuses operations on two devices, those with a CPU scalar too; numbers read from `meta` are 0.0, 1 or true."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run one operation."""
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        kind = func.overloadpacket
        if kind is ATEN._to_copy and tensors[0].is_meta and kwargs.get("device", SECOND).type == "cpu":
            return torch.zeros(tensors[0].shape, dtype=kwargs.get("dtype") or tensors[0].dtype)
        if kind is ATEN.copy_ and len(tensors) == 2 and tensors[1].is_meta and not tensors[0].is_meta:
            return tensors[0].zero_()
        if kind not in (ATEN._to_copy, ATEN.copy_):
            devices = {tensor.device.type for tensor in tensors}
            assert len(devices) <= 1, f"{func} takes tensors on {sorted(devices)}"
        if tensors and tensors[0].is_meta:
            # Operations that need values, or whose result's shape depends on them.
            if kind is ATEN._local_scalar_dense:
                return 0.0 if tensors[0].dtype.is_floating_point else 1
            if kind is ATEN.nonzero:
                return tensors[0].new_empty((len(tensors[0]), tensors[0].dim()), dtype=torch.long)
            if kind is ATEN.index and tensors[1].dtype == torch.bool:
                return torch.empty_like(args[0])
        return func(*args, **kwargs)


def make(observation="identity", dynamics="ensemble", action="discrete", reward="squared"):
    torch.manual_seed(0)
    space, observation_model, config = OBSERVATION_MODELS[observation]
    cls, settings = DYNAMICS[dynamics]
    heads = PredictionHeadsConfig(hidden=(4,), reward=reward)
    return WorldModel(space, ACTIONS[action], observation_model, cls, config, settings, heads).to(SECOND)


def recorded(space, action_space, count=6, length=7):
    action_space.seed(0)
    rng, episodes = np.random.default_rng(0), []
    for _ in range(count):
        obs = rng.integers(0, 9, (length + 1, *space.shape)).astype(space.dtype)
        action = np.stack([action_space.sample() for _ in range(length)])
        episodes.append(RecordedEpisode(obs, action, rng.normal(size=length).astype(np.float32), True))
    return EpisodeDataset(episodes)


def sequences(model, length, count=6):
    """A batch on the second device."""
    latent, after = torch.randn(2, length, count, model.observation_model.latent_size)
    action = np.stack([model.action_space.sample() for _ in range(length * count)])
    action = torch.as_tensor(action).unflatten(0, (length, count))
    yes = torch.ones(length, count, dtype=torch.bool)
    batch = SequenceBatch(latent, action, torch.randn(length, count), after, ~yes, yes, yes)
    return SequenceBatch(*(tensor.to(SECOND) for tensor in batch))


class AnyGenerator(torch.Generator):
    """A generator of the CPU, whatever it is asked for."""

    def __new__(cls, device="cpu"):
        """Forget the device."""
        return super().__new__(cls)


@pytest.fixture(autouse=True)
def generators_anywhere(monkeypatch):
    """There are no generators on `meta`; those of the CPU serve."""
    monkeypatch.setattr(torch, "Generator", AnyGenerator)


def test_mixtures_are_refused():
    x = torch.zeros(2, device=SECOND)
    with OneDeviceOnly():
        for other in (torch.zeros(2), torch.zeros(())):
            with pytest.raises(AssertionError, match="takes tensors on"):
                x + other
            assert (x + other.to(SECOND)).is_meta
        assert x.cpu().tolist() == [0.0, 0.0] and float(x.sum()) == 0.0


@pytest.mark.parametrize("name", OBSERVATION_MODELS)
def test_observation_models(name):
    model = make(name).observation_model
    space = OBSERVATION_MODELS[name][0]
    obs = torch.as_tensor(np.stack([space.sample() for _ in range(5)])).to(SECOND)
    with OneDeviceOnly():
        model.scaler.fit(obs)
        model.scaler.fit(obs[:1])
        assert model.decode(model.encode(obs)).is_meta
        loss, metrics = model.loss(obs, torch.Generator())
        assert loss.is_meta and all(value.is_meta for value in metrics.values())
        if model.learns:
            loss.backward()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("reward", ["squared", "two_hot"])
@pytest.mark.parametrize("name", DYNAMICS)
def test_losses(name, reward, action):
    model = make(dynamics=name, reward=reward, action=action)
    batch = sequences(model, max(2, min(4, model.dynamics.sequence_length)))
    with OneDeviceOnly():
        model.dynamics.fit_scale(batch.latent[0], batch.next_latent[0])
        model.heads.fit_scale(batch.reward.flatten(), 0.1, 0.3)
        model.heads.fit_scale(batch.reward[0, :1], 0.0, 0.0)
        loss, metrics = model.loss(batch, torch.Generator())
        assert loss.is_meta and all(value.is_meta for value in metrics.values())
        loss.backward()


# By default all dynamics and all observation models, but not each with each.
FITS = {
    "adversarial": ("identity", "vae", "semi_supervised", "autoencoder_pictures"),
    "ensemble": ("identity", "vae", "semi_supervised", "autoencoder_pictures"),
    "mdn_rnn": ("vae",),
    "rssm": ("identity",),
    "transformer": ("autoencoder_pictures",),
}


@pytest.mark.parametrize(
    ("name", "observation"),
    [
        pytest.param(name, observation, marks=[] if observation in FITS[name] else pytest.mark.slow)
        for name in DYNAMICS
        for observation in FITS["ensemble"]
    ],
)
def test_a_fit(name, observation):
    model = make(observation, name)
    data = recorded(model.observation_space, model.action_space)
    config = FitConfig(updates=2, judge_every=1, batch_size=8, coder_batch_size=4)
    with OneDeviceOnly():
        fit = Fit(model, data, config, seed=0)
        fit.run()
    assert fit.done and all(value.is_meta for value in model.state_dict().values())


@pytest.mark.parametrize(
    "settings", [{}, {"member": "episode", "termination": "threshold", "temperature": 0.0}]
)
@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("observation", ["identity", "vae_pictures"])
@pytest.mark.parametrize("name", DYNAMICS)
def test_a_dream(name, observation, tensors, settings):
    model = make(observation, name)
    data = recorded(model.observation_space, model.action_space)
    if name == "ensemble":
        settings = settings | {"disagreement_penalty": 0.1, "disagreement_limit": 2.0}
    config = DreamConfig(horizon=2, burn_in=3, **settings)
    with OneDeviceOnly():
        dream = Dream(model, find_starts(model, data, config), 3, config, tensors=tensors)
        obs, _ = dream.reset(seed=0)
        for _ in range(3):
            obs, *_ = dream.step(np.ones(3, int))
        dream.load_state_dict({name: as_saved(value) for name, value in dream.state_dict().items()})
        dream.step(np.ones(3, int))
    assert isinstance(obs, torch.Tensor if tensors else np.ndarray)


def as_saved(value):
    """Tensors as a checkpoint gives them back: on the CPU."""
    return torch.zeros(value.shape, dtype=value.dtype) if value.is_meta else value


# Those that are stepped through sequences take seconds: with vectors by default.
@pytest.mark.parametrize(
    ("name", "observation"),
    [
        *((name, "identity") for name in DYNAMICS if name != "transformer"),
        *((name, "vae_pictures") for name in ("adversarial", "ensemble", "mdn_rnn")),
        pytest.param("rssm", "vae_pictures", marks=pytest.mark.slow),
        pytest.param("transformer", "identity", marks=pytest.mark.slow),
        ("transformer", "vae_pictures"),
    ],
)
def test_the_evaluation(name, observation):
    model = make(observation, name)
    data = recorded(model.observation_space, model.action_space)
    obs = data.observations()
    with OneDeviceOnly():
        evaluation_report(model, *data.split())
        open_loop_example(model, data)
        traversals(model, data, count=2, steps=3)
        probe_states(model, obs, np.zeros((len(obs), 2), np.float32), noise=0.1)


def test_latent_observations():
    torch.manual_seed(0)
    env = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    config = AutoencoderConfig(latent_size=2, hidden=(4,))
    space = env.single_observation_space
    model = WorldModel(space, spaces.Discrete(2), Autoencoder, Ensemble, config).to(SECOND)
    with OneDeviceOnly():
        wrapped = LatentObservation(env, model)
        wrapped.reset(seed=0)
        obs, *_ = wrapped.step(np.zeros(2, int))
    assert obs.shape == (2, 2)
