import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.networks.numpy_twins.q_heads import values_twin
from palaestra.networks.q_heads import (
    JointActions,
    NoisyLinear,
    QHead,
    categorical_projection,
    draw_noise,
    quantile_huber_loss,
)

CPU = torch.device("cpu")
SUPPORT = torch.linspace(-2, 2, 5)


# -- Distributions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "discount", "expected"),
    [
        (0.0, 1.0, [0.1, 0.2, 0.3, 0.4, 0.0]),  # nothing moves
        (1.0, 1.0, [0.0, 0.1, 0.2, 0.3, 0.4]),  # one atom to the right
        (2.0, 1.0, [0.0, 0.0, 0.1, 0.2, 0.7]),  # the last atom collects what goes past it
        (0.5, 1.0, [0.05, 0.15, 0.25, 0.35, 0.2]),  # half-way: the mass is shared by the neighbours
        (0.25, 0.0, [0.0, 0.0, 0.75, 0.25, 0.0]),  # terminated: all mass at the reward
        (-9.0, 0.0, [1.0, 0.0, 0.0, 0.0, 0.0]),  # terminated, below the support
        (0.0, 0.5, [0.0, 0.2, 0.6, 0.2, 0.0]),  # atoms at -1, -0.5, 0, 0.5: 0.1 + 0.1, 0.1 + 0.3 + 0.2, 0.2
    ],
)
def test_categorical_projection_by_hand(reward, discount, expected):
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0]])
    result = categorical_projection(probabilities, torch.tensor([reward]), torch.tensor([discount]), SUPPORT)
    torch.testing.assert_close(result, torch.tensor([expected]), rtol=0, atol=1e-6)


def test_categorical_projection_keeps_mass_and_mean():
    generator = torch.Generator().manual_seed(0)
    support = torch.linspace(-10, 10, 51)
    probabilities = torch.rand(100, 51, generator=generator).softmax(-1)
    reward, discount = torch.randn(100, generator=generator) * 0.1, torch.full((100,), 0.9)
    result = categorical_projection(probabilities, reward, discount, support)
    assert result.min() >= 0
    torch.testing.assert_close(result.sum(-1), torch.ones(100), rtol=0, atol=1e-4)
    # Nothing falls outside here, so the mean obeys the Bellman equation.
    mean = reward + discount * (probabilities @ support)
    torch.testing.assert_close(result @ support, mean, rtol=0, atol=2e-3)


def test_quantile_huber_loss_by_hand():
    quantiles, target = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 3.0]])
    # Quantile 0 (tau 1/4): errors 0.5 and 3; quantile 1 (tau 3/4): errors -0.5 and 2.
    first = (0.25 * 0.125 + 0.25 * 2.5) / 2
    second = (0.25 * 0.125 + 0.75 * 1.5) / 2
    assert quantile_huber_loss(quantiles, target).item() == pytest.approx(first + second)


def test_quantile_huber_loss_is_least_at_the_quantiles():
    """For the absolute error; with Huber's, near them: samples far apart compared with kappa."""
    samples = torch.arange(0, 1000, 10.0)[None]
    quantiles = torch.tensor([[300.0, 400.0, 500.0]], requires_grad=True)
    optimizer = torch.optim.Adam([quantiles], lr=5.0)
    for _ in range(600):
        optimizer.zero_grad()
        quantile_huber_loss(quantiles, samples).sum().backward()
        optimizer.step()
    torch.testing.assert_close(
        quantiles.detach(), torch.tensor([[1000 / 6, 500.0, 5000 / 6]]), rtol=0, atol=12
    )


def test_quantile_huber_loss_equals_that_of_sb3_contrib():
    utils = pytest.importorskip("sb3_contrib.common.utils")
    generator = torch.Generator().manual_seed(0)
    quantiles, target = torch.randn(16, 7, generator=generator), 3 * torch.randn(16, 7, generator=generator)
    # Theirs sums over quantiles and averages over the rest as well.
    theirs = utils.quantile_huber_loss(quantiles, target, sum_over_quantiles=True)
    torch.testing.assert_close(quantile_huber_loss(quantiles, target).mean(), theirs)


# -- Heads -------------------------------------------------------------------------------------------------------


def make_head(dueling=False, noisy=False, distribution="none", hidden=(), **more) -> QHead:
    options = {"none": {}, "quantile": {"atoms": 4}, "c51": {"atoms": 5, "support": SUPPORT}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return QHead(6, 3, dueling=dueling, noisy=noisy, hidden=hidden, **options[distribution], **more)


ALL = list(itertools.product([False, True], [False, True], ["none", "quantile", "c51"], [(), (8, 7)]))


@pytest.mark.parametrize(("dueling", "noisy", "distribution", "hidden"), ALL)
def test_numpy_values_equal_torch_values(dueling, noisy, distribution, hidden):
    head = make_head(dueling, noisy, distribution, hidden)
    generator = np.random.default_rng(0)
    features = generator.standard_normal((10, 6), np.float32)
    noise = draw_noise((head.noise_size,), generator)
    assert (head.noise_size > 0) == noisy
    values = values_twin(head)
    for some_noise in (noise, np.zeros_like(noise)):
        with torch.no_grad():
            outputs = head(torch.from_numpy(features), torch.from_numpy(some_noise))
            expected = head.values(outputs).numpy()
        assert outputs.shape == (10, 3, head.shape[1])
        np.testing.assert_allclose(values(features, some_noise), expected, atol=1e-5)
    if noisy:
        assert not np.allclose(values(features, noise), values(features, np.zeros_like(noise)))
    # Updates in place show at once.
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(2)
    with torch.no_grad():
        expected = head.values(head(torch.from_numpy(features), torch.from_numpy(noise))).numpy()
    np.testing.assert_allclose(values(features, noise), expected, atol=1e-5)


@pytest.mark.parametrize("noisy", [False, True])
def test_numpy_values_equal_torch_values_with_layer_norm(noisy):
    head = make_head(hidden=(8, 7), noisy=noisy, layer_norm=True)
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for layer in head.modules():
            if isinstance(layer, torch.nn.LayerNorm):
                layer.weight.copy_(torch.from_numpy(generator.random(layer.weight.shape)))
                layer.bias.copy_(torch.from_numpy(generator.random(layer.bias.shape)))
    features = 5 * generator.standard_normal((10, 6), np.float32)
    noise = draw_noise((head.noise_size,), generator)
    with torch.no_grad():
        expected = head.values(head(torch.from_numpy(features), torch.from_numpy(noise))).numpy()
    np.testing.assert_allclose(values_twin(head)(features, noise), expected, atol=1e-5)


def test_dueling_values_by_hand():
    head = make_head(dueling=True)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.action_stream.layers[0].bias.copy_(torch.tensor([1.0, 2.0, 6.0]))
        head.state_stream.layers[0].bias.fill_(10.0)
    values = head.values(head(torch.zeros(1, 6), torch.zeros(0)))
    assert values.tolist() == [[8.0, 9.0, 13.0]]


def test_values_of_distributions_by_hand():
    logits = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4, 1e-30]))
    assert make_head(distribution="c51").values(logits).item() == pytest.approx(-0.2 - 0.2 + 0.4, abs=1e-6)
    assert make_head(distribution="quantile").values(torch.tensor([1.0, 2.0, 3.0, 6.0])).item() == 3.0


def test_a_noisy_layer_is_a_linear_layer_with_noisy_weights():
    """`W + S * outer(e_out, e_in)` and `b + s * e_out`, as in the paper, against the cheaper form."""
    layer = NoisyLinear(5, 3)
    noise = torch.from_numpy(draw_noise((8,), np.random.default_rng(0)))
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    weight = layer.mean.weight + layer.deviation.weight * torch.outer(noise[5:], noise[:5])
    bias = layer.mean.bias + layer.deviation.bias * noise[5:]
    torch.testing.assert_close(layer(x, noise), torch.nn.functional.linear(x, weight, bias))
    torch.testing.assert_close(layer(x, torch.zeros(8)), layer.mean(x))
    assert layer.deviation.weight.detach().unique().tolist() == pytest.approx([0.5 / 5**0.5])


def test_noise_is_the_signed_root_of_a_normal_variable():
    noise = draw_noise((200_000,), np.random.default_rng(0))
    assert noise.dtype == np.float32
    normal = np.sign(noise) * noise**2
    assert abs(normal.mean()) < 0.01 and abs(normal.std() - 1) < 0.01


# -- Actions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiDiscrete([2, 1, 4], start=[1, -2, 0]),
    ],
    ids=str,
)
def test_numbers_and_actions_belong_together(space):
    actions = JointActions(space)
    numbers = np.arange(actions.count)
    every = actions.action(numbers)
    assert all(space.contains(action) for action in every)
    assert len(np.unique(every, axis=0)) == actions.count
    np.testing.assert_array_equal(actions.index(every), numbers)
    assert actions.count == (space.n if isinstance(space, spaces.Discrete) else space.nvec.prod())


def test_numbers_of_nested_actions():
    space = spaces.Dict(
        b=spaces.MultiDiscrete([[2, 3]], start=[[1, 0]]),
        a=spaces.Tuple([spaces.Discrete(2, start=-1), spaces.Box(3, 4, (1,), np.uint8)]),
    )
    actions = JointActions(space)
    assert actions.count == 24
    every = actions.action(np.arange(24))
    # The last part, "b", counts fastest.
    assert every["a"][0].tolist() == [-1] * 12 + [0] * 12
    assert every["a"][1].tolist() == ([[3]] * 6 + [[4]] * 6) * 2
    assert every["b"].tolist()[:4] == [[[1, 0]], [[1, 1]], [[1, 2]], [[2, 0]]]
    np.testing.assert_array_equal(actions.index(dict(reversed(every.items()))), np.arange(24))


def test_many_dimensions_of_one_choice():
    assert JointActions(spaces.MultiDiscrete([1] * 100 + [3])).action(np.array([2])).tolist() == [
        [0] * 100 + [2]
    ]


def test_too_many_combinations_are_one_line():
    """Their number fits into no integer of NumPy."""
    with pytest.raises(
        ValueError, match=rf"^MultiDiscrete.* has {256**8} joint actions; at most 10000 can be valued$"
    ):
        JointActions(spaces.MultiDiscrete([256] * 8))
    with pytest.raises(ValueError, match="has 200000 joint actions; at most 100000"):
        JointActions(spaces.Discrete(200_000))


def test_other_actions_are_refused():
    with pytest.raises(TypeError, match=r"no action values for Box\(.*only for Discrete, MultiDiscrete"):
        JointActions(spaces.Box(-1, 1, (2,)))
    with pytest.raises(ValueError, match="has 1048576 joint actions; at most 10000"):
        JointActions(spaces.MultiDiscrete([2] * 20))
