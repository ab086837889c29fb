import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.networks.heads import policy_head
from palaestra.networks.masks import ActionMask, best_action, mask_space, masked
from palaestra.networks.q_heads import JointActions

MASK = np.array([[0, 1, 1], [1, 0, 0]], np.int8)


def test_masks_come_with_the_observation():
    space = spaces.Dict(obs=spaces.Box(-1, 1, (3,)), action_mask=spaces.MultiBinary(3))
    allowed = ActionMask(mask_space(space), spaces.Discrete(3))
    assert allowed({"obs": np.zeros((2, 3)), "action_mask": MASK}).tolist() == MASK.astype(bool).tolist()
    for space in (spaces.Dict(obs=spaces.Discrete(2)), spaces.Box(-1, 1, (3,))):
        assert mask_space(space) is None
    assert ActionMask(None, spaces.Discrete(3))({"obs": np.zeros((2, 3))}) is None
    assert ActionMask(None, spaces.Discrete(3))(np.zeros((2, 3))) is None


MULTI = spaces.MultiDiscrete([2, 3])
PARTS = spaces.Tuple([spaces.MultiBinary(2), spaces.MultiBinary(3)])


@pytest.mark.parametrize("convert", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_a_tuple_of_masks_is_read_one_after_another(convert):
    parts = convert([[1, 0], [0, 1]]), convert([[0, 1, 1], [1, 1, 0]])
    mask = ActionMask(PARTS, MULTI)({"action_mask": parts})
    assert mask.tolist() == [[True, False, False, True, True], [False, True, True, True, False]]


@pytest.mark.parametrize("convert", [np.array, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("space", [spaces.MultiBinary(5), PARTS], ids=["one", "tuple"])
def test_a_joint_action_is_allowed_where_all_its_choices_are(convert, space):
    actions = JointActions(MULTI, space)
    parts = [[1, 0], [1, 1]], [[0, 1, 1], [1, 0, 0]]
    if isinstance(space, spaces.Tuple):
        obs = tuple(convert(part) for part in parts)
    else:
        obs = convert(np.concatenate(parts, -1).tolist())
    mask = actions.allowed({"action_mask": obs})
    assert mask.shape == (2, 6)
    for row, (first, second) in enumerate(zip(*parts, strict=True)):
        expected = [bool(first[i] and second[j]) for i, j in actions.action(np.arange(actions.count))]
        assert mask[row].tolist() == expected
    # Any leading axes.
    again = {"action_mask": tuple(part[None] for part in obs) if isinstance(obs, tuple) else obs[None]}
    assert actions.allowed(again).tolist() == [mask.tolist()]


def test_of_a_stack_of_frames_the_newest_mask_counts():
    allowed = ActionMask(spaces.Box(0, 1, (4, 3), np.int8), spaces.Discrete(3))
    frames = np.array([[[1, 1, 1]] * 3 + [[0, 1, 0]]], np.int8)
    assert allowed({"action_mask": frames}).tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    ("mask", "actions", "message"),
    [
        (
            spaces.Box(0, 1, (4, 1), np.int8),
            spaces.Discrete(4),
            r"shape \(4, 1\) does not fit .* needs \(4,\)",
        ),
        (
            spaces.MultiBinary(6),
            spaces.Discrete(4),
            r"shape \(6,\) does not fit Discrete\(4\), which needs \(4,\)",
        ),
        (spaces.MultiBinary(6), MULTI, r"shape \(6,\) does not fit .* needs \(5,\)"),
        (spaces.Tuple([spaces.MultiBinary(3)] * 2), MULTI, r"\[\(3,\), \(3,\)\] .* needs \[\(2,\), \(3,\)\]"),
        (spaces.Tuple([spaces.MultiBinary(2)]), MULTI, r"\[\(2,\)\] .* needs \[\(2,\), \(3,\)\]"),
        (spaces.Discrete(4), spaces.Discrete(4), r"shape \(\) does not fit"),
        (spaces.Dict(a=spaces.MultiBinary(4)), spaces.Discrete(4), r"shape None does not fit"),
    ],
)
def test_masks_of_another_size_are_refused(mask, actions, message):
    with pytest.raises(ValueError, match=message):
        policy_head(4, actions, mask_space=mask)
    with pytest.raises(ValueError, match=message):
        JointActions(actions, mask)


def test_a_mask_beside_box_actions_is_only_a_feature():
    head = policy_head(4, spaces.Box(-1, 1, (4,)), mask_space=spaces.MultiBinary(4))
    assert head.allowed({"action_mask": np.zeros((1, 4), np.int8)}) is None


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
