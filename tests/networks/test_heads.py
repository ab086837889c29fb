import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.networks.heads import policy_head, sample_categorical, value_head
from palaestra.networks.q_value import ActionBounds

SPACES = {
    "discrete": spaces.Discrete(4, start=-3),
    "multi-discrete": spaces.MultiDiscrete([2, 3], start=[5, -1]),
    "multi-discrete matrix": spaces.MultiDiscrete([[2, 3], [4, 2]], start=[[5, -1], [0, 1]]),
    "multi-binary": spaces.MultiBinary(3),
    "multi-binary matrix": spaces.MultiBinary([2, 2]),
    "box": spaces.Box(np.float32([-1, 0]), np.float32([1, 5])),
    "matrix": spaces.Box(-2, 2, (2, 3), np.float32),
    "scalar": spaces.Box(-2, 2, (), np.float32),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "mixed bounds": spaces.Box(np.float32([-np.inf, 0, -4]), np.float32([3, np.inf, 4])),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def outputs_of(head, num=6, scale=1.0):
    width = head.layer.out_features
    return (np.random.default_rng(1).standard_normal((num, width)) * scale).astype(np.float32)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_actions_have_the_shape_and_kind_of_the_space(space):
    head = policy_head(8, space)
    action = head.choose(outputs_of(head), np.random.default_rng(0))
    assert action.shape == (6, *space.shape)
    if isinstance(space, spaces.Box):
        assert action.dtype == np.float32
        np.testing.assert_array_equal(np.clip(action, space.low, space.high).shape, action.shape)
    else:
        assert all(space.contains(one.astype(space.dtype)) for one in action)
    log_prob = head.distribution(torch.from_numpy(outputs_of(head))).log_prob(torch.from_numpy(action))
    assert log_prob.shape == (6,) and log_prob.isfinite().all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_unsigned_actions_are_as_likely_as_signed_ones(dtype):
    """Demonstrations have the type of their space."""
    for space in (
        spaces.MultiDiscrete([2, 3], start=[5, 1]),
        spaces.Discrete(4, start=3),
        spaces.Box(5, 9, (2,), dtype),
    ):
        head = policy_head(8, space)
        policy = head.distribution(torch.from_numpy(outputs_of(head)))
        action = head.choose(outputs_of(head), np.random.default_rng(0))
        unsigned = torch.from_numpy(action.astype(dtype))
        torch.testing.assert_close(policy.log_prob(unsigned), policy.log_prob(torch.from_numpy(action)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_choices_of_unsigned_spaces_may_begin_anywhere(dtype):
    leaf = spaces.MultiDiscrete([2, 3], dtype=dtype, start=[5, 1])
    for space in (leaf, spaces.Tuple([leaf, spaces.Discrete(2)])):
        head = policy_head(8, space)
        policy = head.distribution(torch.from_numpy(outputs_of(head)))
        action = head.choose(outputs_of(head), np.random.default_rng(0))
        first = action[0] if isinstance(action, tuple) else action
        assert first.dtype == np.int64 and (first >= [5, 1]).all() and (first < [7, 4]).all()
        assert policy.log_prob(torch.from_numpy(head.stored(action))).isfinite().all()


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_time_axis_goes_first(space):
    """`[T, B]` outputs and actions give the same numbers as `[T * B]` ones."""
    head = policy_head(8, space, gain=1.0)
    features = torch.randn(3, 2, 8)
    action = head.choose(outputs_of(head), np.random.default_rng(0))
    action = torch.from_numpy(action)
    together = head(features)
    flat = head(features.reshape(6, 8))
    stacked = together.log_prob(action.reshape(3, 2, *space.shape))
    assert stacked.shape == together.entropy().shape == (3, 2)
    torch.testing.assert_close(stacked.flatten(), flat.log_prob(action))
    torch.testing.assert_close(together.entropy().flatten(), flat.entropy())


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_without_a_generator_the_most_likely_action_comes_out(space):
    head = policy_head(8, space)
    outputs = outputs_of(head, scale=2.0)
    best = head.choose(outputs, None)
    np.testing.assert_array_equal(best, head.choose(outputs, None))
    policy = head.distribution(torch.from_numpy(outputs))
    likely = policy.log_prob(torch.from_numpy(best))
    generator = np.random.default_rng(0)
    for _ in range(50):
        other = policy.log_prob(torch.from_numpy(head.choose(outputs, generator)))
        assert (other <= likely + 1e-5).all()


def test_categorical_samples_follow_the_distribution():
    head = policy_head(8, SPACES["discrete"])
    outputs = np.tile(np.float32([0.0, 1.0, -1.0, 2.0]), (40_000, 1))
    action = head.choose(outputs, np.random.default_rng(0))
    policy = head.distribution(torch.from_numpy(outputs[:1]))
    for value in range(-3, 1):
        probability = policy.log_prob(torch.tensor([value])).exp().item()
        assert (action == value).mean() == pytest.approx(probability, abs=0.01)


def test_multi_discrete_samples_follow_the_distribution():
    head = policy_head(8, SPACES["multi-discrete"])
    outputs = np.tile(np.float32([0.0, 1.0, -1.0, 2.0, 0.0]), (40_000, 1))
    action = head.choose(outputs, np.random.default_rng(0))
    policy = head.distribution(torch.from_numpy(outputs[:1]))
    for left in (5, 6):
        for right in (-1, 0, 1):
            probability = policy.log_prob(torch.tensor([[left, right]])).exp().item()
            share = ((action[:, 0] == left) & (action[:, 1] == right)).mean()
            assert share == pytest.approx(probability, abs=0.01)


def test_bernoulli_samples_follow_the_distribution():
    head = policy_head(8, SPACES["multi-binary"])
    logits = np.float32([-2.0, 0.0, 3.0])
    action = head.choose(np.tile(logits, (40_000, 1)), np.random.default_rng(0))
    assert action.dtype == np.int8
    np.testing.assert_allclose(action.mean(0), 1 / (1 + np.exp(-logits)), atol=0.01)


def test_multi_binary_given_as_a_shape():
    head = policy_head(8, spaces.MultiBinary([3]))
    assert head.choose(np.float32([[1, -1, 1]]), None).tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("squash", [False, True])
def test_gaussian_samples_follow_the_distribution(squash):
    """Bounds differ by dimension: [-1, 1] and [0, 5]."""
    head = policy_head(8, SPACES["box"], log_std=-0.5, squash=squash)
    mean = np.float32([0.3, -0.8])
    action = head.choose(np.tile(mean, (40_000, 1)), np.random.default_rng(0))
    inner = mean + np.exp(-0.5) * np.random.default_rng(1).standard_normal((40_000, 2))
    expected = np.array([0, 2.5]) + np.array([1, 2.5]) * (np.tanh(inner) if squash else inner)
    np.testing.assert_allclose(action.mean(0), expected.mean(0), atol=0.04)
    np.testing.assert_allclose(action.std(0), expected.std(0), atol=0.04)
    np.testing.assert_allclose(np.quantile(action, 0.9, 0), np.quantile(expected, 0.9, 0), atol=0.06)
    if squash:
        assert (np.abs(action - [0, 2.5]) <= [1, 2.5]).all()


@pytest.mark.parametrize("squash", [False, True])
def test_density_over_actions_integrates_to_one(squash):
    """In the environment's units: the change of variables counts."""
    head = policy_head(8, spaces.Box(-1, 7, (1,), np.float32), log_std=-0.7, squash=squash)
    edge = 4 * (1 - 1e-5) if squash else 30
    grid = torch.linspace(3 - edge, 3 + edge, 200_001)
    policy = head.distribution(torch.full((200_001, 1), 0.4))
    density = policy.log_prob(grid.unsqueeze(-1)).exp()
    assert torch.trapezoid(density.double(), grid.double()).item() == pytest.approx(1, abs=1e-3)
    surprise = -(density * density.clamp(min=1e-30).log()).double()
    assert torch.trapezoid(surprise, grid.double()).item() == pytest.approx(
        policy.entropy()[0].item(), abs=2e-3
    )


def test_box_log_prob_by_hand():
    """Action 5 in [0, 5] is +1 in units of the range; its density is stretched by 2.5."""
    head = policy_head(8, spaces.Box(0, 5, (1,), np.float32), log_std=np.log(2.0))
    log_prob = head.distribution(torch.zeros(1, 1)).log_prob(torch.tensor([[5.0]]))
    expected = -0.5 * (1 / 2) ** 2 - np.log(2) - 0.5 * np.log(2 * np.pi) - np.log(2.5)
    assert log_prob.item() == pytest.approx(expected, rel=1e-6)


def test_dimensions_without_two_bounds_keep_their_units():
    head = policy_head(8, SPACES["mixed bounds"])
    assert head.choose(np.float32([[0.5, 0.5, 0.5]]), None).tolist() == [[0.5, 0.5, 2.0]]


def test_a_dimension_without_a_choice_does_no_harm():
    space = spaces.Box(np.float32([-1, 2]), np.float32([1, 2]))
    head = policy_head(8, space)
    policy = head.distribution(torch.zeros(1, 2))
    action = head.choose(np.zeros((1, 2), np.float32), np.random.default_rng(0))
    assert policy.log_prob(torch.from_numpy(action)).isfinite().all() and policy.entropy().isfinite().all()
    assert np.clip(action, space.low, space.high)[0, 1] == 2


def test_the_start_is_near_uniform():
    features = torch.randn(100, 64)
    assert (np.log(3) - policy_head(64, spaces.Discrete(3))(features).entropy()).max().item() < 0.01
    head = policy_head(64, SPACES["box"], log_std=-1.0)
    assert head.layer(features).abs().max().item() < 0.2
    assert head.log_std.tolist() == [-1, -1]


def test_small_integer_boxes_are_choices():
    space = spaces.Box(np.array([[0, -3]]), np.array([[9, 3]]), dtype=np.int16)
    head = policy_head(8, space)
    assert head.layer.out_features == 17
    actions = head.choose(np.zeros((2000, 17), np.float32), np.random.default_rng(0))
    assert actions.shape == (2000, 1, 2)
    assert np.unique(actions[:, 0, 0]).tolist() == list(range(10))
    assert np.unique(actions[:, 0, 1]).tolist() == list(range(-3, 4))
    log_prob = head.distribution(torch.zeros(2000, 17)).log_prob(torch.from_numpy(actions))
    torch.testing.assert_close(log_prob, torch.full((2000,), -float(np.log(70))))
    assert policy_head(8, spaces.Box(0, 1, (3,), np.bool_)).layer.out_features == 6


def test_the_probability_of_a_product():
    """log p = log 0.75 (kind) + log N(1; 0, 1) (where) + log 0.5 (bit), computed by hand."""
    space = spaces.Dict(
        kind=spaces.Discrete(2, start=7),
        where=spaces.Box(-np.inf, np.inf, (1,), np.float32),
        bits=spaces.Tuple([spaces.MultiBinary(1)]),
    )
    head = policy_head(8, space)
    assert head.layer.out_features == 4
    action = {"kind": np.array([8]), "where": np.float32([[1]]), "bits": (np.int8([[1]]),)}
    row = head.stored(action)
    # Parts by the order of their keys: bits, kind, where.
    assert row.dtype == np.float32 and row.tolist() == [[1, 1, 1]]
    policy = head.distribution(torch.tensor([[0.0, 0.0, np.log(3), 0.0]]))
    normal = -0.5 - 0.5 * np.log(2 * np.pi)
    assert policy.log_prob(torch.from_numpy(row)).item() == pytest.approx(np.log(0.75) + normal + np.log(0.5))
    kind = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    entropy = kind + 0.5 * np.log(2 * np.pi * np.e) + np.log(2)
    assert policy.entropy().item() == pytest.approx(entropy)
    best = head.choose(np.float32([[-1, 0, 1, 0.25]]), None)
    assert best["kind"].tolist() == [8] and best["where"].tolist() == [[0.25]]
    assert best["bits"][0].tolist() == [[0]] and best["bits"][0].dtype == np.int8


def test_more_choices_than_a_layer_can_have():
    with pytest.raises(
        ValueError, match=r"needs 2,000,000 outputs of a policy, of which it can have 100,000"
    ):
        policy_head(8, spaces.Discrete(2_000_000))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 200_000, (2,), np.int64),
        spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (2,), np.int64),
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Text(3)}),
        spaces.Tuple([]),
        spaces.Text(3),
    ],
    ids=str,
)
def test_other_actions_are_refused(space):
    with pytest.raises(TypeError, match=r"no policy for .*, only for Discrete"):
        policy_head(8, space)


def test_squash_needs_bounds():
    with pytest.raises(ValueError, match=r"squash needs bounded actions.*leave squash off"):
        policy_head(8, SPACES["mixed bounds"], squash=True)


def test_rare_choices_never_take_the_logarithm_of_zero():
    """float32 exponentials are zero once in seven million draws, which would choose even what is forbidden."""

    class Smallest:
        def standard_exponential(self, shape, dtype=np.float64):
            draws = np.ones(shape, dtype)
            draws[:, 0] = np.float32(2**-23 * 1e-1) if dtype == np.float64 else 0.0
            return draws

    logits = np.float32([[-1e8, 0.0]])
    assert sample_categorical(logits, Smallest()).tolist() == [1]


def test_value_head():
    head = value_head(16)
    assert head(torch.zeros(2, 3, 16)).squeeze(-1).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert head.weight.norm().item() == pytest.approx(1, rel=1e-5)


def test_huge_bounds_of_actions_are_none():
    """Actions in units of the largest float would be infinite."""
    huge = spaces.Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (2,), np.float32)
    head = policy_head(4, huge)
    assert head.center.tolist() == [0, 0] and head.half_range.tolist() == [1, 1]
    with pytest.raises(ValueError, match="squash needs bounded actions"):
        policy_head(4, huge, squash=True)
    with pytest.raises(TypeError, match="no deterministic policy"):
        ActionBounds(huge)
