"""Adversarial dynamics: the penalty by hand, what each loss may change, and that two ways stay two."""

import math

import numpy as np
import pytest
import torch

from palaestra.envs.tasks.fork import Fork
from palaestra.networks.optimizer import FlatAdam
from palaestra.world_models.dynamics.adversarial import Adversarial, AdversarialConfig, gradient_penalty
from palaestra.world_models.dynamics.ensemble import Ensemble, EnsembleConfig
from palaestra.world_models.losses import energy_score
from palaestra.world_models.world_model import Sampling

CONFIG = AdversarialConfig(hidden=(8,), noise_size=2, gradient_penalty=0.5)


def batch(rows=6):
    generator = torch.Generator().manual_seed(0)
    latent, change = (torch.randn(1, rows, 2, generator=generator) for _ in range(2))
    return latent, torch.ones(1, rows, 1), latent + change, torch.ones(1, rows, dtype=torch.bool)


def test_gradient_penalty_by_hand():
    x = torch.tensor([[1.0, 2.0], [0.0, 0.5]], requires_grad=True)
    # Slopes (3, 4) with length 5 and, of 2 x^2 at 0.5, (0, 2).
    score = torch.stack([3 * x[0, 0] + 4 * x[0, 1], 2 * x[1].square().sum()])
    assert gradient_penalty(score, x).tolist() == pytest.approx([16.0, 1.0])
    flat = torch.zeros(1, 2, requires_grad=True)
    penalty = gradient_penalty((flat.square().sum(-1)), flat)
    assert penalty.item() == pytest.approx(1.0, rel=1e-5)
    penalty.sum().backward()
    assert flat.grad.isfinite().all()


def test_energy_score_by_hand():
    draws = torch.tensor([[[0.0]], [[3.0]], [[4.0]]])
    # Distances to 1: 1, 2 and 3; between draws: 3, 4 and 1.
    assert energy_score(torch.tensor([[1.0]]), draws).tolist() == pytest.approx([2 - 0.5 * 8 / 3])


def test_losses_are_those_of_wgan_gp():
    torch.manual_seed(0)
    dynamics = Adversarial(2, 1, CONFIG)
    latent, action, after, mask = batch()
    loss, metrics, _ = dynamics.loss(latent, action, after, mask, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    x, real = dynamics.inputs(latent, action), dynamics.target(latent, after)
    made = dynamics.generator(torch.cat([x, torch.randn(1, 6, 2, generator=generator)], -1))
    share = torch.rand(1, 6, 1, generator=generator)
    between = (share * real + (1 - share) * made).detach().requires_grad_()

    def score(change):
        return dynamics.critic(torch.cat([x, change], -1))

    (slope,) = torch.autograd.grad(score(between).sum(), between)
    penalty = (slope.norm(dim=-1) - 1).square().mean()
    distance = score(real).mean() - score(made).mean()
    assert metrics["loss/dynamics"].item() == pytest.approx(distance.item(), abs=1e-5)
    assert metrics["loss/critic"].item() == pytest.approx((0.5 * penalty - distance).item(), abs=1e-4)
    assert metrics["loss/generator"].item() == pytest.approx(-score(made).mean().item(), abs=1e-5)
    # Of the sum, the critic gets the gradient of its own loss alone, and the generator of its.
    loss.backward()
    expected = torch.autograd.grad(-score(made).mean(), list(dynamics.generator.parameters()))
    for parameter, gradient in zip(dynamics.generator.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    # Real and made changes move the last bias by as much, and the penalty does not see it.
    assert dynamics.critic[-1].bias.grad.abs().item() < 1e-6


def test_held_out_steps_are_judged_by_their_draws_and_without_gradients():
    torch.manual_seed(0)
    dynamics = Adversarial(2, 1, CONFIG).eval()
    with torch.no_grad():
        loss, metrics, _ = dynamics.loss(*batch())
        again, _, _ = dynamics.loss(*batch())
    assert loss == again and set(metrics) == {"loss/dynamics", "dynamics/squared_error"}


def test_the_critic_takes_larger_steps():
    torch.manual_seed(0)
    dynamics = Adversarial(2, 1, AdversarialConfig(hidden=(8,), noise_size=2))
    before = [parameter.clone() for parameter in dynamics.parameters()]
    optimizer = FlatAdam(dynamics, betas=dynamics.betas)
    optimizer.step(lambda *data: dynamics.loss(*data)[:2], batch(), 0.01)
    named = zip(dynamics.named_parameters(), before, strict=True)
    moved = {name: (parameter - old).abs().max().item() for (name, parameter), old in named}
    # The first step of Adam is as long as the learning rate.
    assert moved["critic.0.weight"] == pytest.approx(0.03, rel=1e-2)
    assert moved["generator.0.weight"] == pytest.approx(0.006, rel=1e-2)


FORK = {
    "ensemble": (Ensemble, EnsembleConfig(members=1, elites=1, hidden=(64, 64)), 300, 3e-3),
    "adversarial": (Adversarial, AdversarialConfig(hidden=(64, 64)), 2000, 1e-3),
}


def fork(count, seed):
    """Places, actions and successors of the task Fork."""
    worlds = np.stack([Fork(length=1).draw(np.random.default_rng([seed, k])) for k in range(count)])
    obs, action = worlds[:, :1].copy(), np.arange(count) % 2
    Fork(length=1).step(worlds, action)
    return obs, action, worlds[:, :1]


def mode_shares(name):
    """Shares of draws between the two ways, and that go the rarer one, after learning from 4000 steps."""
    torch.manual_seed(0)
    cls, config, updates, rate = FORK[name]
    dynamics, generator = cls(1, 2, config), torch.Generator().manual_seed(0)
    obs, choice, next_obs = fork(4000, 0)
    latent, after = (torch.as_tensor(x, dtype=torch.float32)[None] for x in (obs, next_obs))
    action = torch.nn.functional.one_hot(torch.as_tensor(choice), 2).float()[None]
    dynamics.fit_scale(latent[0], after[0])
    optimizer = FlatAdam(dynamics, betas=dynamics.betas, max_grad_norm=10.0)
    mask = torch.ones(1, 256, dtype=torch.bool)
    for _ in range(updates):
        rows = torch.randint(4000, (256,), generator=generator)
        data = (latent[:, rows], action[:, rows], after[:, rows], mask)
        optimizer.step(lambda *data: dynamics.loss(*data, generator)[:2], data, rate)
    with torch.no_grad():
        sampling = Sampling(torch.Generator().manual_seed(1))
        drawn = dynamics.step(latent[0], action[0], dynamics.initial_state(4000), sampling).latent
    modes = Fork().mode(obs, choice, drawn.numpy())
    return np.mean(modes == 0), min(np.mean(modes == -1), np.mean(modes == 1))


@pytest.mark.slow
def test_two_ways_stay_two_where_a_gaussian_averages():
    obs, action, next_obs = fork(1000, 1)
    assert (Fork().mode(obs, action, next_obs) != 0).all()
    shares = {name: mode_shares(name) for name in FORK}
    print({name: [round(float(share), 3) for share in each] for name, each in shares.items()})
    # Of a Gaussian of deviation 1, 38 % lies within 0.5 of its mean.
    assert shares["ensemble"][0] == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=0.05)
    assert shares["adversarial"][0] < 0.6 * math.erf(0.5 / math.sqrt(2))
    assert shares["adversarial"][1] > 0.25
