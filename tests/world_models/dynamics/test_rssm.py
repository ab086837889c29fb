"""A recurrent state-space model: its sums by hand, what it remembers, and what it learns."""

import math

import pytest
import torch

from palaestra.networks.optimizer import FlatAdam
from palaestra.world_models.dynamics import rssm
from palaestra.world_models.dynamics.rssm import RSSM, RSSMConfig, choose, draw
from palaestra.world_models.world_model import Sampling

CONFIG = RSSMConfig(deterministic=16, groups=4, classes=4, hidden=(32,))


def make(config=CONFIG, seed=0):
    torch.manual_seed(seed)
    return RSSM(2, 1, config)


def sequences(length=8, count=64, seed=0):
    """SequenceBatch [T, B] of a rotation whose speed depends on the action."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, generator=generator)
    rows, actions = [x], []
    for _ in range(length):
        action = torch.randint(2, (count, 1), generator=generator).float()
        angle = 0.2 + 0.4 * action
        x = torch.cat(
            [
                x[:, :1] * angle.cos() - x[:, 1:] * angle.sin(),
                x[:, :1] * angle.sin() + x[:, 1:] * angle.cos(),
            ],
            1,
        )
        rows.append(x)
        actions.append(action)
    states = torch.stack(rows)
    return states[:-1], torch.stack(actions), states[1:], torch.ones(length, count, dtype=torch.bool)


def test_the_loss_by_hand():
    """One step of one variable of two classes, with every network's output set."""
    small = {"deterministic": 1, "groups": 1, "classes": 2, "hidden": (1,), "unimix": 0.1}
    model = RSSM(1, 1, RSSMConfig(**small))
    with torch.no_grad():
        for part in (model.prior, model.posterior, model.decoder):
            for parameter in part.parameters():
                parameter.zero_()
        model.prior[-1].bias.copy_(torch.tensor([math.log(3.0), 0.0]))
        model.posterior[-1].bias.copy_(torch.tensor([0.0, math.log(4.0)]))
        model.decoder[-1].bias.fill_(0.5)
    one = torch.ones(1, 1, 1)
    p = [0.9 * 0.2 + 0.05, 0.9 * 0.8 + 0.05]
    q = [0.9 * 0.75 + 0.05, 0.9 * 0.25 + 0.05]
    kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    generator = torch.Generator().manual_seed(0)
    for free_nats, divergence in ((0.0, 1.1 * kl), (2.0, 1.1 * 2.0)):
        model.config = RSSMConfig(**small, free_nats=free_nats)
        loss, metrics, _ = model.loss(0 * one, one, 3 * one, torch.ones(1, 1, dtype=torch.bool), generator)
        assert metrics["loss/kl"].item() == pytest.approx(kl, rel=1e-5)
        assert metrics["loss/latent"].item() == pytest.approx(50 * 2.5**2)
        assert loss.item() == pytest.approx(50 * 2.5**2 + divergence, rel=1e-5)


def test_without_a_uniform_share_numbers_stay_numbers():
    model = make(RSSMConfig(deterministic=8, groups=2, classes=3, hidden=(8,), unimix=0.0, free_nats=0.0))
    with torch.no_grad():
        model.prior[-1].bias[:3] = torch.tensor([0.0, 500.0, 0.0])
        model.posterior[-1].bias[:3] = torch.tensor([500.0, 0.0, 0.0])
    generator = torch.Generator().manual_seed(0)
    loss, metrics, _ = model.loss(*sequences(3), generator)
    loss.backward()
    assert loss.isfinite() and all(x.isfinite() for x in metrics.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    for temperature in (0.0, 1e-30, 1.0, 5.0):
        sampling = Sampling(generator, temperature)
        prediction = model.step(torch.zeros(4, 2), torch.zeros(4, 1), model.initial_state(4), sampling)
        assert prediction.latent.isfinite().all()


def test_prior_and_posterior_are_drawn_together_unevenly():
    generator = torch.Generator().manual_seed(0)
    sizes = {}
    for name, weights in (("prior", (1.0, 0.0)), ("posterior", (0.0, 1.0))):
        config = RSSMConfig(
            deterministic=8,
            groups=2,
            classes=3,
            hidden=(8,),
            free_nats=0.0,
            dynamics_weight=weights[0],
            representation_weight=weights[1],
        )
        model = make(config)
        with torch.no_grad():
            # Otherwise the classes before reach the prior through the memory.
            for parameter in model.cell.parameters():
                parameter.zero_()
        loss, metrics, _ = model.loss(*sequences(1), generator)
        (loss - metrics["loss/latent"]).backward()
        sizes[name] = [
            sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)
            for part in (model.prior, model.posterior)
        ]
    assert sizes["prior"][0] > 0 == sizes["prior"][1] and sizes["posterior"][1] > 0 == sizes["posterior"][0]


def test_samples_are_one_hot_and_gradients_go_straight_through():
    probabilities = torch.tensor([[[0.2, 0.8], [1.0, 0.0]]], requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    samples = torch.stack([draw(probabilities, generator)[0] for _ in range(2000)])
    assert set(samples.detach().unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(
        samples.detach().mean(0), torch.tensor([0.2, 0.8, 1.0, 0.0]), atol=0.03, rtol=0
    )
    (draw(probabilities, generator) * torch.tensor([1.0, 2, 3, 4])).sum().backward()
    torch.testing.assert_close(probabilities.grad, torch.tensor([[[1.0, 2], [3, 4]]]))
    cold = choose(probabilities.detach(), Sampling(generator, temperature=0.0))
    torch.testing.assert_close(cold, torch.tensor([[0.0, 1, 1, 0]]))


def test_memory_of_real_steps_is_that_of_a_window(monkeypatch):
    monkeypatch.setattr(rssm, "draw", lambda probabilities, _: choose(probabilities, Sampling()))
    model, data = make(), sequences(6, 3)
    model.fit_scale(data[0].flatten(0, 1), data[2].flatten(0, 1))
    _, _, features = model.loss(*data)
    state = model.initial_state(3)
    with torch.no_grad():
        for t in range(6):
            state = model.observe(data[0][t], data[1][t], state)
            torch.testing.assert_close(state[:, :16], features[t, :, :16])
            assert not state[:, 16:].any()


def test_a_dream_goes_on_from_memory_and_a_real_step_from_the_latent():
    model = make()
    generator = torch.Generator().manual_seed(0)
    latent, action = torch.randn(5, 2), torch.ones(5, 1)
    with torch.no_grad():
        prediction = model.step(latent, action, model.initial_state(5), Sampling(generator))
        assert prediction.state.shape == (5, model.state_size) and (prediction.state[:, -1] == 1).all()
        # What is shown no longer matters once the memory has chosen; before, it does.
        dreamt = [
            model.step(x, action, prediction.state, Sampling()).features
            for x in (prediction.latent, prediction.latent + 9)
        ]
        torch.testing.assert_close(*dreamt)
        real = [
            model.step(x, action, model.initial_state(5), Sampling()).features for x in (latent, latent + 9)
        ]
        assert not torch.equal(*real)


def test_a_rotation_is_learned_many_steps_ahead():
    config = RSSMConfig(deterministic=32, groups=8, classes=8, hidden=(64,))
    model, data = make(config), sequences(8, 256)
    model.fit_scale(data[0].flatten(0, 1), data[2].flatten(0, 1))
    optimizer, generator = FlatAdam(model, max_grad_norm=1000.0), torch.Generator().manual_seed(0)
    for step in range(200):
        rows = torch.randint(256, (64,), generator=generator)
        batch = tuple(x[:, rows] for x in data)
        optimizer.step(lambda *b: model.loss(*b, generator)[:2], batch, 5e-3 * (1 - step / 200))
    latent, action, after, _ = sequences(8, 256, seed=1)
    with torch.no_grad():
        state = model.initial_state(256)
        for t in range(3):
            state = model.observe(latent[t], action[t], state)
        x = latent[3]
        for t in range(3, 8):
            prediction = model.step(x, action[t], state, Sampling())
            x, state = prediction.latent, prediction.state
    error, change = (x - after[7]).square().mean(), (latent[3] - after[7]).square().mean()
    assert error < 0.1 * change
