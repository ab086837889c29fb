import time
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from palaestra.networks.layers import initialized, mlp, orthogonal


def test_orthogonal_rows_have_length_gain():
    layer = orthogonal(nn.Linear(6, 4), 2.0)
    torch.testing.assert_close(layer.weight @ layer.weight.T, 4 * torch.eye(4), rtol=0, atol=1e-5)
    assert layer.bias.abs().sum() == 0
    assert orthogonal(nn.Linear(3, 2, bias=False), 1.0).bias is None


def test_mlp_by_hand():
    network = mlp((2, 3, 1), "relu")
    assert [type(layer) for layer in network] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
        network[2].weight.copy_(torch.tensor([[1.0, 2.0, 4.0]]))
        network[2].bias.fill_(0.5)
    assert network(torch.tensor([3.0, 4.0])).item() == 3 + 8 + 0 + 0.5
    assert network(torch.tensor([-3.0, -4.0])).item() == 28.5


def test_mlp_without_hidden_layers_is_the_identity():
    x = torch.randn(3, 4)
    assert torch.equal(mlp((4,), "tanh")(x), x)


def test_weights_begin_orthogonal_or_as_pytorch_has_them():
    with initialized(0):
        own = nn.Linear(8, 6)
    with initialized(0):
        layer = mlp((8, 6), "tanh", orthogonal_init=False)[0]
    assert torch.equal(layer.weight, own.weight) and torch.equal(layer.bias, own.bias)
    layer = mlp((8, 6), "tanh")[0]
    torch.testing.assert_close(layer.weight @ layer.weight.T, 2 * torch.eye(6), rtol=0, atol=1e-5)


def test_initial_weights_follow_from_the_seed_whatever_other_threads_do():
    def draw(_):
        drawn = []
        with initialized(3):
            for _ in range(3):
                time.sleep(0.002)
                drawn += torch.rand(2).tolist()
        return drawn

    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(draw, range(8)))
    assert found == [draw(0)] * 8
    assert torch.equal(torch.random.get_rng_state(), before)


def test_networks_inside_networks_are_initialized_by_their_own_seed():
    with initialized(1):
        first = torch.rand(2)
        with initialized(2):
            inner = torch.rand(2)
        after = torch.rand(2)
    with initialized(1):
        assert torch.equal(torch.cat([first, after]), torch.rand(4))
    with initialized(2):
        assert torch.equal(inner, torch.rand(2))
