import math

import pytest
import torch

from palaestra.networks.means import masked_mean
from palaestra.world_models.losses import (
    active_units,
    categorical_kl,
    end_loss,
    free_bits,
    gaussian_kl,
    gaussian_nll,
    mixture_nll,
    soft_clamp,
    symexp,
    symlog,
    two_hot,
    two_hot_mean,
)

HALF_LOG_TWO_PI = 0.9189385332


def test_gaussian_likelihood_by_hand():
    # Standard normal at 1: 0.5 + 0.919. Variance 4 at distance 2: 0.5 + 0.5 ln 4 + 0.919.
    nll = gaussian_nll(torch.tensor([1.0, 2.0]), torch.zeros(2), torch.tensor([0.0, math.log(4)]))
    assert nll.item() == pytest.approx(0.5 + 0.5 + 0.5 * math.log(4) + 2 * HALF_LOG_TWO_PI)


def test_kl_by_hand():
    kl = gaussian_kl(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, math.log(4)]))
    assert kl.tolist() == pytest.approx([0.0, 0.5, 0.5 * (4 - 1 - math.log(4))], abs=1e-6)


def test_kl_is_the_expected_log_ratio():
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.tensor([0.7]), torch.tensor([-1.0])
    x = mean + (0.5 * log_variance).exp() * torch.randn(400_000, 1, generator=generator)
    ratio = gaussian_nll(x, torch.zeros(1), torch.zeros(1)) - gaussian_nll(x, mean, log_variance)
    assert ratio.mean().item() == pytest.approx(gaussian_kl(mean, log_variance).item(), abs=0.01)


def test_mixture_likelihood_by_hand():
    # Half at +1, half at -1, unit variance, seen at 0: both have density exp(-0.5) / sqrt(2 pi).
    mean = torch.tensor([[1.0], [-1.0]])
    nll = mixture_nll(torch.zeros(1), torch.zeros(2), mean, torch.zeros(2, 1))
    assert nll.item() == pytest.approx(0.5 + HALF_LOG_TWO_PI)
    # Weights 3/4 and 1/4, seen at 1: 0.75 exp(0) + 0.25 exp(-2), over sqrt(2 pi).
    nll = mixture_nll(torch.ones(1), torch.tensor([math.log(3), 0.0]), mean, torch.zeros(2, 1))
    assert nll.item() == pytest.approx(-math.log(0.75 + 0.25 * math.exp(-2)) + HALF_LOG_TWO_PI)


def test_a_mixture_chooses_for_the_whole_vector():
    # Both dimensions at (1, 1): components (1, 1) and (-1, -1), so that (1, -1) is far from both.
    mean = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    apart = mixture_nll(torch.tensor([1.0, -1.0]), torch.zeros(2), mean, torch.zeros(2, 2))
    assert apart.item() == pytest.approx(2.0 + 2 * HALF_LOG_TWO_PI)


def test_free_bits_are_counted_step_by_step():
    kl = torch.tensor([0.0, 4.0], requires_grad=True)
    free = free_bits(kl, 1.0)
    assert free.tolist() == [1.0, 4.0]
    free.mean().backward()
    # Their mean is above one nat, yet the first step must not be pushed any further down.
    assert kl.grad.tolist() == [0.0, 0.5]


def test_soft_clamp_keeps_its_bounds_and_its_middle():
    x = soft_clamp(torch.tensor([-100.0, -5.0, 100.0]), -10.0, 0.5)
    assert x[0].item() == pytest.approx(-10.0, abs=1e-3)
    assert x[1].item() == pytest.approx(-5.0, abs=0.02)
    assert x[2].item() == pytest.approx(0.5, abs=1e-3)


def test_rare_ends_weigh_more():
    loss = end_loss(torch.zeros(2), torch.tensor([True, False]), 3.0)
    assert loss.tolist() == pytest.approx([3 * math.log(2), math.log(2)])


def test_means_of_what_is_valid():
    assert masked_mean(torch.tensor([1.0, 3.0, 100.0]), torch.tensor([True, True, False])).item() == 2.0
    assert masked_mean(torch.ones(2), torch.zeros(2, dtype=torch.bool)).item() == 0.0


def test_active_units_are_those_that_vary():
    means = torch.tensor([[0.0, 5.0, 1.0], [0.0, 5.0, -1.0], [0.19, 5.0, 1.0]])
    # Variances 0.008, 0 and 0.89.
    assert active_units(means) == 1


def test_divergence_of_categoricals_by_hand():
    p = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]])
    q = torch.tensor([[[0.25, 0.75], [0.25, 0.75]]])
    assert categorical_kl(p, q).tolist() == pytest.approx([0.5 * math.log(2) + 0.5 * math.log(2 / 3)])


def test_impossible_classes_have_a_finite_divergence_and_gradient():
    logits = torch.tensor([[[0.0, 200.0], [200.0, 0.0]]], requires_grad=True)
    p, q = logits.softmax(-1), torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    assert p.min() == 0
    # The first pair agrees. In the second all of p is where q has nothing: log(1 / 1e-30).
    divergence = categorical_kl(p, q)
    assert divergence.item() == pytest.approx(30 * math.log(10), rel=1e-5)
    divergence.sum().backward()
    assert logits.grad.isfinite().all()
    assert categorical_kl(q, p.detach()).isfinite().all()


def test_symlog_and_back():
    x = torch.tensor([-math.expm1(2.0), 0.0, 1e-3, math.expm1(3.0)])
    assert symlog(x).tolist() == pytest.approx([-2.0, 0.0, math.log1p(1e-3), 3.0], rel=1e-5)
    torch.testing.assert_close(symexp(symlog(x)), x)


def test_two_hot_by_hand():
    bins = torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0])
    shares = two_hot(torch.tensor([-1.0, 0.25, 3.0, 9.0]), bins)
    expected = [[0, 1, 0, 0, 0], [0, 0, 0.75, 0.25, 0], [0, 0, 0, 1 / 3, 2 / 3], [0, 0, 0, 0, 1]]
    torch.testing.assert_close(shares, torch.tensor(expected, dtype=torch.float32))
    torch.testing.assert_close(shares[:3] @ bins, torch.tensor([-1.0, 0.25, 3.0]))
    torch.testing.assert_close(
        two_hot_mean(shares.clamp(min=1e-30).log(), bins)[:3], torch.tensor([-1.0, 0.25, 3.0])
    )
    # Equal shares of huge bins are exactly nothing.
    huge = symexp(torch.linspace(-20, 20, 255))
    assert two_hot_mean(torch.zeros(255), huge) == 0
