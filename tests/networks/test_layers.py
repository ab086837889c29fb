import torch
from torch import nn

from palaestra.networks.layers import mlp, orthogonal


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
