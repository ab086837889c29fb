import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.networks.heads import policy_head
from palaestra.networks.masks import action_mask, best_action, masked

MASK = np.array([[0, 1, 1], [1, 0, 0]], np.int8)


def test_masks_come_with_the_observation():
    assert action_mask({"obs": np.zeros((2, 3)), "action_mask": MASK}).tolist() == MASK.astype(bool).tolist()
    assert action_mask({"obs": np.zeros((2, 3))}) is None
    assert action_mask(np.zeros((2, 3))) is None


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_the_best_of_what_is_allowed(convert):
    values = convert(np.array([[3.0, 1.0, 2.0], [-5.0, 0.0, 9.0]], np.float32))
    mask = convert(MASK) != 0
    assert best_action(values, mask).tolist() == [2, 0]
    assert best_action(values, None).tolist() == [0, 2]
    assert masked(values, mask)[0, 1:].tolist() == [1.0, 2.0] and masked(values, mask)[0, 0] < -1e20


def test_a_masked_policy_by_hand():
    """Equal logits, two of three choices: each has probability 1/2, the entropy is log 2."""
    head = policy_head(4, spaces.Discrete(3), gain=0.0)
    policy = head(torch.randn(1, 4), torch.tensor([[False, True, True]]))
    assert policy.log_prob(torch.tensor([1])).item() == pytest.approx(np.log(0.5))
    assert policy.log_prob(torch.tensor([0])).item() < -1e20
    assert policy.entropy().item() == pytest.approx(np.log(2))


def test_gradients_of_forbidden_choices_are_zero():
    head = policy_head(4, spaces.MultiDiscrete([2, 3]), gain=1.0)
    mask = torch.tensor([[True, True, False, True, True]])
    policy = head(torch.ones(1, 4), mask)
    (policy.log_prob(torch.tensor([[0, 1]])) + policy.entropy()).sum().backward()
    gradient = head.layer.bias.grad
    assert torch.isfinite(gradient).all() and gradient[2] == 0 and (gradient[[0, 1, 3, 4]] != 0).any()
