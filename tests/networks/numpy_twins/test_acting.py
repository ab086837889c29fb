import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from torch import nn

from palaestra.networks.encoders.cnn import CNN
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.heads import policy_head
from palaestra.networks.layers import ACTIVATIONS
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.numpy_twins.acting import make_step, torso_twin
from palaestra.networks.optimizer import FlatAdam
from palaestra.networks.torso import Memory, Torso, build_torso
from palaestra.networks.tree import tree_leaves, tree_map

CPU = torch.device("cpu")
BOX = spaces.Box(-5, 5, (3, 2), np.float32)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def torch_outputs(torso, layer, obs):
    with torch.no_grad():
        count = len(tree_leaves(obs)[0])
        first = torch.ones(1, count, dtype=torch.bool)
        features, _ = torso(
            tree_map(lambda x: torch.from_numpy(x)[None], obs), torso.initial_state(count), first
        )
        return layer(features[0]).numpy()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_acting_equals_torch(activation, normalize, dtype):
    space = spaces.Box(-5, 5, BOX.shape, dtype)
    config = MLPConfig(hidden=(16, 16), activation=activation, normalize=normalize)
    torso = build_torso(space, MLP, NoMemory, config)
    layer = nn.Linear(torso.size, 4)
    torso.update_statistics(torch.randn(50, *BOX.shape) * 3 + 1)
    step = make_step(torso, layer, CPU)
    obs = (np.random.default_rng(0).standard_normal((7, *BOX.shape)) * 3).astype(dtype)
    outputs, state = step(obs, np.zeros((7, 0), np.float32), np.ones(7, bool))
    assert outputs.dtype == np.float32 and state.shape == (7, 0)
    np.testing.assert_allclose(outputs, torch_outputs(torso, layer, obs), rtol=1e-6, atol=1e-6)


def test_acting_sees_updates_in_place():
    torso = build_torso(BOX, MLP, NoMemory, MLPConfig(hidden=(8,), normalize=True))
    head = policy_head(torso.size, spaces.Discrete(3), gain=1.0)
    modules = nn.ModuleDict({"torso": torso, "head": head})
    optimizer = FlatAdam(modules)
    step = make_step(torso, head.layer, CPU)
    obs = np.random.default_rng(0).standard_normal((4, *BOX.shape)).astype(np.float32)

    def outputs():
        return step(obs, np.zeros((4, 0), np.float32), np.ones(4, bool))[0]

    seen = [outputs()]

    def changed():
        seen.append(outputs())
        np.testing.assert_allclose(seen[-1], torch_outputs(torso, head.layer, obs), rtol=1e-6, atol=1e-6)
        return np.abs(seen[-1] - seen[-2]).max() > 1e-3

    def loss(x):
        features, _ = torso(x, torso.initial_state(4), torch.ones(1, 4, dtype=torch.bool))
        return head.layer(features).sum(), {}

    optimizer.step(loss, (torch.from_numpy(obs)[None],), 0.1)
    assert changed()
    torso.update_statistics(torch.randn(20, *BOX.shape) + 3)
    assert changed()
    other = build_torso(BOX, MLP, NoMemory, MLPConfig(hidden=(8,), normalize=True))
    torso.load_state_dict(other.state_dict())
    assert changed()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5, start=2),
        spaces.MultiDiscrete([2, 3], start=[1, 0]),
        spaces.MultiBinary(4),
        spaces.Dict(b=spaces.Discrete(3), a=spaces.Tuple([BOX, spaces.Discrete(2)])),
        spaces.Box(0, 255, (6, 6), np.uint8),
    ],
    ids=lambda space: type(space).__name__,
)
def test_other_observations_act_in_numpy_too(space):
    torso = build_torso(space, MLP, NoMemory)
    assert torso_twin(torso) is not None
    layer = nn.Linear(torso.size, 2)
    space.seed(0)
    obs = concatenate(space, [space.sample() for _ in range(6)], create_empty_array(space, 6))
    outputs, state = make_step(torso, layer, CPU)(obs, np.zeros((6, 0), np.float32), np.ones(6, bool))
    assert isinstance(outputs, np.ndarray) and state.shape == (6, 0)
    np.testing.assert_allclose(outputs, torch_outputs(torso, layer, obs), atol=1e-6)


def test_convolutions_act_through_torch():
    space = spaces.Box(0, 255, (6, 6), np.uint8)
    torso = build_torso(space, CNN, NoMemory)
    assert torso_twin(torso) is None
    layer = nn.Linear(torso.size, 2)
    obs = np.stack([space.sample() for _ in range(6)])
    outputs, _ = make_step(torso, layer, CPU)(obs, np.zeros((6, 0), np.float32), np.ones(6, bool))
    np.testing.assert_allclose(outputs, torch_outputs(torso, layer, obs), atol=1e-6)


class CountSteps(Memory):
    """Counts the steps of the episode; has no twin."""

    def __init__(self, size):
        super().__init__()
        self.size, self.state_size = size, 1

    def forward(self, x, state, first):
        outputs = []
        for t in range(len(x)):
            state = state * ~first[t].unsqueeze(-1) + 1
            outputs.append(x[t] + state)
        return torch.stack(outputs), state


def test_state_is_carried_and_reset():
    torso = Torso(MLP(spaces.Box(-1, 1, (1,), np.float32), MLPConfig(hidden=())), CountSteps(1))
    step = make_step(torso, nn.Identity(), CPU)
    obs, state = np.zeros((2, 1), np.float32), torso.initial_state(2).numpy()
    counts = []
    for first in ([True, True], [False, False], [False, True], [False, False]):
        outputs, state = step(obs, state, np.array(first))
        counts.append(outputs[:, 0].tolist())
    assert counts == [[1, 1], [2, 2], [3, 1], [4, 2]]
