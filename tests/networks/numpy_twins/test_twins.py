import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.layers import ACTIVATIONS, mlp
from palaestra.networks.numpy_twins.layers import layers_twin
from palaestra.networks.numpy_twins.registry import find_twin


def test_no_layers_are_the_identity():
    x = torch.randn(3, 4)
    assert np.array_equal(layers_twin(mlp((4,), "tanh"))(x.numpy()), x.numpy())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numpy_twin_equals_torch(activation):
    network = mlp((5, 16, 7), activation)
    x = torch.randn(9, 5) * 3
    ours = layers_twin(network)(x.numpy())
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, network(x).detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numpy_activations_bear_extreme_inputs(activation):
    x = torch.tensor([[-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4]])
    layer = ACTIVATIONS[activation]()
    np.testing.assert_allclose(layers_twin(layer)(x.numpy()), layer(x).numpy(), rtol=1e-6, atol=1e-6)


def test_numpy_twin_sees_updates_in_place():
    network = mlp((3, 4), "tanh")
    twin, x = layers_twin(network), torch.randn(2, 3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    np.testing.assert_allclose(twin(x.numpy()), network(x).detach().numpy(), atol=1e-6)


def test_a_layer_used_twice_runs_twice():
    shared = nn.Linear(3, 3)
    network, x = nn.Sequential(shared, nn.ReLU(), shared), torch.randn(2, 3)
    np.testing.assert_allclose(layers_twin(network)(x.numpy()), network(x).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm(3, bias=False), nn.Linear(3, 3, bias=False), nn.Conv2d(1, 1, 1)]
)
def test_unknown_layers_have_no_twin(layer):
    assert layers_twin(nn.Sequential(nn.Linear(3, 3), layer)) is None


def test_a_subclass_has_no_twin_of_its_parents():
    """It may do something else; it acts through torch."""

    class Doubled(MLP):
        def forward(self, obs):
            return 2 * super().forward(obs)

    space = spaces.Box(-1, 1, (3,))
    assert find_twin(MLP(space, MLPConfig())) is not None
    assert find_twin(Doubled(space, MLPConfig())) is None
