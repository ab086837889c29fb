import math

import pytest
import torch
from torch import distributions as reference

from palaestra.networks.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    MultiCategorical,
    SquashedGaussian,
)


def normal(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def close(left, right, atol=1e-6):
    torch.testing.assert_close(left, right, rtol=0, atol=atol)


def test_categorical_equals_torch():
    logits = normal(5, 3, 4, scale=3)
    action = torch.arange(15).reshape(5, 3) % 4
    ours, theirs = Categorical(logits), reference.Categorical(logits=logits)
    close(ours.log_prob(action), theirs.log_prob(action))
    close(ours.entropy(), theirs.entropy())


def test_categorical_by_hand():
    policy = Categorical(torch.tensor([math.log(1.0), math.log(3.0)]))
    assert policy.log_prob(torch.tensor(1)).item() == pytest.approx(math.log(0.75))
    assert policy.entropy().item() == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))


def test_multi_categorical_is_a_product():
    logits = normal(6, 9, scale=2)
    action = torch.stack([torch.arange(6) % n for n in (2, 3, 4)], -1)
    ours = MultiCategorical(logits, [2, 3, 4])
    theirs = [reference.Categorical(logits=part) for part in logits.split([2, 3, 4], -1)]
    close(ours.log_prob(action), sum(p.log_prob(action[:, d]) for d, p in enumerate(theirs)))
    close(ours.entropy(), sum(p.entropy() for p in theirs))


def test_bernoulli_equals_torch():
    logits = normal(7, 3, scale=3)
    action = (normal(7, 3, seed=1) > 0).to(torch.int8)
    ours = Bernoulli(logits)
    theirs = reference.Independent(reference.Bernoulli(logits=logits), 1)
    close(ours.log_prob(action), theirs.log_prob(action.double()))
    close(ours.entropy(), theirs.entropy())


def test_diagonal_gaussian_equals_torch():
    mean, log_std, action = normal(4, 5, 3), normal(3, seed=1, scale=0.5), normal(4, 5, 3, seed=2)
    ours = DiagonalGaussian(mean, log_std)
    theirs = reference.Independent(reference.Normal(mean, log_std.exp().expand_as(mean)), 1)
    close(ours.log_prob(action), theirs.log_prob(action))
    close(ours.entropy(), theirs.entropy())


def squashed_pair(mean, log_std):
    base = reference.Normal(mean, log_std.exp().expand_as(mean))
    squashed = reference.TransformedDistribution(base, reference.transforms.TanhTransform())
    return SquashedGaussian(mean, log_std), reference.Independent(squashed, 1)


def test_squashed_gaussian_equals_torch():
    ours, theirs = squashed_pair(normal(8, 2), normal(2, seed=1, scale=0.3))
    action = normal(8, 2, seed=2).tanh()
    close(ours.log_prob(action), theirs.log_prob(action))


@pytest.mark.parametrize(
    ("mean", "log_std"), [(0.0, -1.0), (0.5, 0.0), (-2.0, 0.0), (1.5, -2.0), (4.0, -0.5)]
)
def test_entropy_of_the_squashed_gaussian_against_monte_carlo(mean, log_std):
    mean, log_std = torch.tensor([[mean]], dtype=torch.float64), torch.tensor([log_std], dtype=torch.float64)
    before = mean + log_std.exp() * normal(400_000, 1)
    # log p(tanh x) = log N(x) - log(1 - tanh(x)^2), with 1 - tanh^2 = 4 / (e^x + e^-x)^2 safe for large x.
    slope = 2 * (math.log(2) - torch.logaddexp(before, -before))
    gaussian = reference.Normal(mean, log_std.exp()).log_prob(before)
    sampled = -(gaussian - slope).mean()
    assert SquashedGaussian(mean, log_std).entropy().item() == pytest.approx(sampled.item(), abs=5e-3)


def test_squashed_entropy_is_right_where_tanh_hardly_bends():
    mean, log_std = torch.full((1, 2), 0.01), torch.full((2,), -5.0)
    policy = SquashedGaussian(mean, log_std)
    assert policy.entropy().item() == pytest.approx(
        DiagonalGaussian(mean, log_std).entropy().item(), abs=1e-3
    )


def test_squashed_log_prob_is_finite_at_the_edge():
    mean = torch.zeros(2, 1, requires_grad=True)
    log_prob = SquashedGaussian(mean, torch.zeros(1)).log_prob(torch.tensor([[1.0], [-1.0]]))
    log_prob.sum().backward()
    assert log_prob.isfinite().all() and mean.grad.isfinite().all()


@pytest.mark.parametrize("kind", [DiagonalGaussian, SquashedGaussian])
def test_densities_integrate_to_one(kind):
    edge = 1 - 1e-5 if kind is SquashedGaussian else 12.0
    grid = torch.linspace(-edge, edge, 400_001, dtype=torch.float64)
    policy = kind(torch.full((1,), 0.7, dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64))
    density = policy.log_prob(grid.unsqueeze(-1)).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-4)


def test_probabilities_sum_to_one():
    every = Categorical(normal(1, 5).expand(5, 5)).log_prob(torch.arange(5))
    assert every.exp().sum().item() == pytest.approx(1)
    corners = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert Bernoulli(normal(2).expand(4, 2)).log_prob(corners).exp().sum().item() == pytest.approx(1)
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    both = MultiCategorical(normal(1, 5).expand(6, 5), [2, 3]).log_prob(pairs)
    assert both.exp().sum().item() == pytest.approx(1)
