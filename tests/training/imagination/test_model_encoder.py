"""A world model's encoder inside an agent: which gradients reach it, and how fast it may move."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from palaestra.agents.agent import Transition
from palaestra.agents.auxiliary.auxiliary import RecentSteps
from palaestra.networks.encoder import VECTOR_FEATURES
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.optimizer import FlatAdam
from palaestra.networks.torso import build_torso
from palaestra.training.imagination import fits as world_models
from palaestra.training.imagination import model_encoder
from palaestra.training.imagination.model_encoder import ModelEncoder, ModelEncoderConfig, for_run
from palaestra.training.settings.components import find_component
from palaestra.world_models.autoencoder import Autoencoder, AutoencoderConfig

VECTOR = spaces.Box(-10, 10, (5,), np.float32)
PICTURE = spaces.Box(0, 255, (16, 16, 1), np.uint8)


@pytest.fixture
def make(monkeypatch):
    """Build encoders whose fitted model is an autoencoder that nobody has fitted."""

    def build(space=VECTOR, **options):
        observation_model = Autoencoder(space, AutoencoderConfig(latent_size=3, hidden=(8,), depth=2))
        spaces_of = {"observation_space": space, "action_space": spaces.Discrete(2)}
        model = type("Model", (), spaces_of | {"observation_model": observation_model})
        config = type("Config", (), {"env": "There-v0"})
        fitted = world_models.FittedModel(config, model, None)
        monkeypatch.setattr(model_encoder, "load_world_model", lambda *_: fitted)
        return for_run("world-model:there")(space, ModelEncoderConfig(hidden=(4,), **options))

    return build


def gradients(encoder, obs):
    """Gradient of the observation model under an agent's loss, and of that agent's own layers."""
    encoder(obs).square().sum().backward()
    observation_model = [p.grad for p in encoder.observation_model.parameters()]
    return observation_model, [p.grad for p in encoder.layers.parameters()]


def test_joint_learning_is_reconstruction_and_nothing_of_the_agents(make):
    encoder = make(mode="joint", reconstruction_weight=0.5)
    obs = torch.randn(6, 5)
    loss = encoder.reconstruction_loss(obs, encoder.observation_model.encode(obs))
    by_hand = torch.autograd.grad(loss, list(encoder.observation_model.parameters()))
    observation_model, layers = gradients(encoder, obs)
    for got, expected in zip(observation_model, by_hand, strict=True):
        torch.testing.assert_close(got, expected)
    assert all(gradient.abs().sum() > 0 for gradient in layers)
    decoded = encoder.observation_model.decode(encoder.observation_model.encode(obs))
    length = encoder.observation_model.encode(obs).square().sum(-1).mean()
    torch.testing.assert_close(loss, 0.25 * ((decoded - obs).square().mean() + 1e-6 * length))


@pytest.mark.parametrize("name", ["curl", "predict", "reconstruct"])
def test_auxiliary_losses_train_what_is_behind_it_alone(name, make):
    """Their views are noisy, and reconstruction has steps of its own."""
    encoder = make(mode="joint")
    auxiliary = find_component("auxiliary", name)
    steps = RecentSteps(spaces.Discrete(2), 100, seed=0)
    memory = np.zeros((8, 0), np.float32)
    obs = np.random.default_rng(0).normal(size=(6, 8, 5)).astype(np.float32)
    for t in range(5):
        flags = (np.zeros(8, bool), np.zeros(8, bool))
        steps.add(
            Transition(obs[t], np.ones(8, int), np.ones(8), *flags, obs[t + 1], flags[0], memory, memory)
        )
    made = auxiliary(encoder, VECTOR, steps, auxiliary.Config(batch_size=16))
    loss, _ = made.own_loss(made.draw())
    loss.backward()
    assert all(parameter.grad is None for parameter in encoder.observation_model.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.layers.parameters())
    # The agent's next loss has it again.
    assert all(gradient is not None for gradient in gradients(encoder, torch.randn(6, 5))[0])


def test_only_what_may_change_has_gradients(make):
    obs = torch.randn(6, 5)
    observation_model, layers = gradients(make(mode="frozen"), obs)
    assert all(gradient is None for gradient in observation_model) and all(
        gradient is not None for gradient in layers
    )
    encoder = make(mode="finetune")
    gradients(encoder, obs)
    assert all(p.grad.abs().sum() > 0 for p in encoder.observation_model.encoder.parameters())
    assert all(p.grad is None for p in encoder.observation_model.decoder.parameters())
    with torch.no_grad():
        assert make(mode="joint")(obs).shape == (6, 4)


def test_the_encoder_takes_smaller_steps(make):
    encoder = make(mode="finetune", learning_rate_scale=0.01)
    optimizer = FlatAdam(nn.ModuleDict({"encoder": encoder}))
    before = [p.clone() for p in encoder.parameters()]
    obs = torch.randn(64, 5)
    optimizer.step(lambda: (encoder(obs).sum(), {}), (), 0.1)
    moved = {
        name: (p - b).abs().max().item()
        for (name, p), b in zip(encoder.named_parameters(), before, strict=True)
    }
    # The first step of Adam is as long as the learning rate, whatever the gradient.
    assert moved["layers.0.bias"] == pytest.approx(0.1, rel=1e-3)
    assert moved["observation_model.encoder.0.bias"] == pytest.approx(0.001, rel=1e-2)
    assert FlatAdam(make(mode="finetune", learning_rate_scale=1.0)).pace is None


def test_state_dicts_of_version_0_1_0_load(make):
    encoder, again = make(), make()
    old = {name.replace("observation_model.", "coder."): x + 1 for name, x in encoder.state_dict().items()}
    assert "coder.encoder.0.weight" in old
    again.load_state_dict(old)
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value + 1)


def test_pictures_are_seen_too(make):
    # It can see before it learns: layers that policy and value share would only make one the other's noise.
    assert not make(PICTURE).shared_by_default
    assert make(PICTURE, mode="joint")(torch.zeros(2, 16, 16, 1, dtype=torch.uint8)).shape == (2, 4)


def test_of_nested_observations_it_sees_what_the_model_was_fitted_to(make):
    observation_model = make()
    space = spaces.Dict(obs=VECTOR, model_memory=spaces.Box(-np.inf, np.inf, (2,), np.float32))
    torso = build_torso(space, type(observation_model), NoMemory, ModelEncoderConfig(hidden=(4,)))
    assert not torso.shared_by_default and torso.size == 4 + VECTOR_FEATURES
    obs = {"obs": torch.randn(6, 5), "model_memory": torch.randn(6, 2)}
    other = {**obs, "model_memory": torch.randn(6, 2)}
    for rows, alike in ((slice(0, 4), True), (slice(4, None), False)):
        assert torch.equal(torso.single_step(obs)[:, rows], torso.single_step(other)[:, rows]) is alike
    with pytest.raises(ValueError, match="encodes observations Box"):
        build_torso(spaces.Dict(x=spaces.Box(0, 1, (3,))), type(observation_model), NoMemory)


def test_it_needs_a_folder():
    with pytest.raises(ValueError, match="world-model:DIR"):
        ModelEncoder(VECTOR, ModelEncoderConfig())
    assert for_run("world-model:a/b").run_dir == Path("a/b")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_joint_learning_is_the_same(make):
    torch.manual_seed(0)
    obs = torch.randn(16, 5)
    after = []
    for compile in (False, True):
        torch.manual_seed(1)
        encoder = make(mode="joint")
        optimizer = FlatAdam(nn.ModuleDict({"encoder": encoder}), compile=compile)
        for _ in range(3):
            optimizer.step(lambda x, encoder=encoder: (encoder(x).square().sum(), {}), (obs,), 0.01)
        after.append(optimizer.vector.clone())
    torch.testing.assert_close(after[0], after[1], rtol=1e-4, atol=1e-5)
