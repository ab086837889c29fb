import numpy as np
import pytest
import torch
from torch import nn

from palaestra.networks.layers import ACTIVATIONS, mlp, numpy_layers, orthogonal


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
    assert np.array_equal(numpy_layers(mlp((4,), "tanh"))(x.numpy()), x.numpy())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numpy_twin_equals_torch(activation):
    network = mlp((5, 16, 7), activation)
    x = torch.randn(9, 5) * 3
    ours = numpy_layers(network)(x.numpy())
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, network(x).detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numpy_activations_bear_extreme_inputs(activation):
    x = torch.tensor([[-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4]])
    layer = ACTIVATIONS[activation]()
    np.testing.assert_allclose(numpy_layers(layer)(x.numpy()), layer(x).numpy(), rtol=1e-6, atol=1e-6)


def test_numpy_twin_sees_updates_in_place():
    network = mlp((3, 4), "tanh")
    twin, x = numpy_layers(network), torch.randn(2, 3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    np.testing.assert_allclose(twin(x.numpy()), network(x).detach().numpy(), atol=1e-6)


def test_a_layer_used_twice_runs_twice():
    shared = nn.Linear(3, 3)
    network, x = nn.Sequential(shared, nn.ReLU(), shared), torch.randn(2, 3)
    np.testing.assert_allclose(numpy_layers(network)(x.numpy()), network(x).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm(3, bias=False), nn.Linear(3, 3, bias=False), nn.Conv2d(1, 1, 1)]
)
def test_unknown_layers_have_no_twin(layer):
    assert numpy_layers(nn.Sequential(nn.Linear(3, 3), layer)) is None
