import numpy as np
import pytest
import torch
from torch import nn

from palaestra.agents.divergence import broken_metric, broken_part
from palaestra.networks.normalize import RunningNormalizer
from palaestra.networks.optimizer import FlatAdam


@pytest.mark.parametrize("vector", ["vector", "mean", "square"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_none_is_found(vector, value):
    optimizer = FlatAdam(nn.Linear(30, 40))
    parts = {"networks": nn.Linear(2, 2), "optimizer": optimizer, "count": 3}
    assert broken_part(parts) is None
    getattr(optimizer, vector)[700] = value
    assert broken_part(parts) == "optimizer holds NaN or infinity"


def test_large_moments_are_numbers():
    optimizer = FlatAdam(nn.Linear(30, 40))
    optimizer.square.fill_(3e38)  # whose sum is infinite
    assert broken_part({"optimizer": optimizer}) is None


def test_parameters_whose_squares_overflow_are_lost():
    """A policy that is sure of everything has gradients of 0: its losses stay finite for ever."""
    optimizer = FlatAdam(nn.Linear(30, 40))
    optimizer.vector[7] = 1.8e19  # the square is 3.2e38, and float32 goes to 3.4e38
    assert broken_part({"optimizer": optimizer}) is None
    optimizer.vector[7] = -1e30
    assert broken_part({"optimizer": optimizer}) == "optimizer holds numbers up to 1e+30"
    assert broken_part({"networks": optimizer.modules}) == "networks holds numbers up to 1e+30"


def test_parameters_without_our_optimizer_and_running_statistics_are_looked_at():
    module = nn.ModuleList([nn.Linear(2, 2), RunningNormalizer((2,))])
    module.register_buffer("high", torch.tensor(np.inf))  # a bound may be infinite
    assert broken_part({"networks": module}) is None
    with torch.no_grad():
        module[0].bias[1] = np.nan
    assert broken_part({"networks": module}) == "networks holds NaN or infinity"
    module[0].reset_parameters()
    module[1].mean[0] = np.nan
    assert broken_part({"networks": module}) == "networks holds NaN or infinity"


def test_losses_and_gradients_are_finite_and_other_metrics_need_not_be():
    assert broken_metric({"policy/approx_kl": np.inf, "loss/q": 1.0, "episode/return": np.nan}) is None
    assert broken_metric({"loss/q": 1.0, "loss/value": torch.tensor(np.nan)}) == "loss/value is nan"
    assert broken_metric({"value/gradient_norm": np.inf}) == "value/gradient_norm is inf"
