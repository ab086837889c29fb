import importlib
import pkgutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

import palaestra.networks.memories
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.numpy_twins.acting import make_step, torso_twin
from palaestra.networks.numpy_twins.registry import find_twin
from palaestra.networks.torso import Encoder, Memory, Torso, build_torso
from palaestra.networks.vectors import flat_size


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# -- The contract of a memory ------------------------------------------------------------------------------------


def memories() -> list[type[Memory]]:
    """Every Memory class that a module of networks/memories defines."""
    package = palaestra.networks.memories
    modules = [
        importlib.import_module(f"{package.__name__}.{m.name}")
        for m in pkgutil.iter_modules(package.__path__)
    ]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Memory) and value.__module__ == module.__name__
    ]


@dataclass(frozen=True)
class NoConfig:
    pass


class RunningSum(Memory):
    """Sums what it saw in the episode; the simplest memory there is."""

    Config = NoConfig
    forgets = True

    def __init__(self, input_size, config):
        super().__init__()
        self.size = self.state_size = input_size

    def forward(self, x, state, first):
        sums = []
        for t in range(len(x)):
            if self.forgets:
                state = state * ~first[t].unsqueeze(-1)
            state = state + x[t]
            sums.append(state)
        return torch.stack(sums), state


class Leaky(RunningSum):
    """Breaks the contract: carries on across episodes."""

    forgets = False


T, D = 12, 5


def unroll(memory: Memory, x, state, first, lengths):
    """Outputs and last state of a chunk, run in pieces of the given lengths."""
    outputs = []
    for part, starts in zip(x.split(lengths), first.split(lengths), strict=True):
        y, state = memory(part, state, starts)
        outputs.append(y)
    return torch.cat(outputs), state


def assert_contract(memory: Memory, num_envs: int) -> None:
    x = torch.randn(T, num_envs, D)
    first = torch.rand(T, num_envs) < 0.3
    first[5, 0] = True
    first[6:, 0] = False
    state = memory.initial_state(num_envs)
    assert state.shape == (num_envs, memory.state_size) and state.dtype == torch.float32

    # Whole, in chunks, one by one: the same outputs and the same state.
    whole, last = unroll(memory, x, state, first, [T])
    assert whole.shape == (T, num_envs, memory.size) and last.shape == state.shape
    for lengths in ([1] * T, [5, 7], [4, 4, 4], [1, 10, 1]):
        pieces, after = unroll(memory, x, state, first, lengths)
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5)
        torch.testing.assert_close(after, last, rtol=0, atol=1e-5)

    # Nothing before a `first` changes anything after it: not what was seen, and not the state at the beginning.
    other = x.clone()
    other[:5, 0] = torch.randn(5, D)
    changed, after = unroll(memory, other, torch.randn_like(state), first, [T])
    torch.testing.assert_close(changed[5:, 0], whole[5:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(after[0], last[0], rtol=0, atol=1e-5)

    # Environments do not see each other.
    for b in range(num_envs):
        alone, after = unroll(memory, x[:, b : b + 1], state[b : b + 1], first[:, b : b + 1], [T])
        torch.testing.assert_close(alone[:, 0], whole[:, b], rtol=0, atol=1e-5)
        torch.testing.assert_close(after[0], last[b], rtol=0, atol=1e-5)

    step = find_twin(memory)
    if step is not None:
        carried = state.numpy()
        for t in range(T):
            y, carried = step(x[t].numpy(), carried, first[t].numpy())
            np.testing.assert_allclose(y, whole[t].detach().numpy(), atol=1e-5)
        np.testing.assert_allclose(carried, last.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("memory", [*memories(), RunningSum], ids=lambda memory: memory.__name__)
def test_memory_contract(memory, num_envs):
    assert_contract(memory(D, memory.Config()).eval(), num_envs)


def test_the_contract_catches_a_leak():
    with pytest.raises(AssertionError, match="not close"):
        assert_contract(Leaky(D, NoConfig()), 3)


def test_the_search_finds_the_memories():
    assert NoMemory in memories()


# -- Torso -------------------------------------------------------------------------------------------------------


def test_torso_encodes_each_step_and_remembers():
    space = spaces.Box(-1, 1, (2, 3), np.float32)
    torso = Torso(MLP(space, MLPConfig(hidden=(4,))), RunningSum(4, NoConfig()))
    assert torso.size == 4 and torso.has_memory
    obs, first = torch.randn(6, 2, 2, 3), torch.zeros(6, 2, dtype=torch.bool)
    first[0] = first[3] = True
    features, state = torso(obs, torso.initial_state(2), first)
    encoded = torso.encoder(obs.reshape(12, 2, 3)).reshape(6, 2, 4)
    expected = torch.cat([encoded[:3].cumsum(0), encoded[3:].cumsum(0)])
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(state, expected[-1])
    assert torso_twin(torso) is None  # this memory has none


def test_torso_without_memory_has_a_state_of_width_zero():
    torso = build_torso(spaces.Box(-1, 1, (3,), np.float32), MLP, NoMemory)
    assert torso.initial_state(5).shape == (5, 0) and not torso.has_memory and not torso.shared_by_default
    assert torso.size == 64


def test_nested_observations_reach_the_encoder():
    class Concatenate(nn.Module):
        shared_by_default = False

        def forward(self, obs):
            return torch.cat([obs["a"], obs["b"][0].unsqueeze(-1)], -1)

    obs = {"a": torch.randn(4, 2, 3), "b": (torch.randn(4, 2),)}
    torso = Torso(Concatenate(), NoMemory(4, None))
    features, _ = torso(obs, torso.initial_state(2), torch.zeros(4, 2, dtype=torch.bool))
    assert torch.equal(features, torch.cat([obs["a"], obs["b"][0].unsqueeze(-1)], -1))


def test_updated_statistics_change_the_features():
    torso = build_torso(
        spaces.Box(-9, 9, (1,), np.float32), MLP, NoMemory, MLPConfig(hidden=(), normalize=True)
    )
    torso.update_statistics(torch.tensor([[1.0], [5.0]]))  # mean 3, deviation 2
    features, _ = torso(torch.tensor([[[7.0]]]), torso.initial_state(1), torch.ones(1, 1, dtype=torch.bool))
    assert features.item() == pytest.approx(2)


# -- MLP encoder -------------------------------------------------------------------------------------------------

OBSERVATIONS = {
    "discrete": (spaces.Discrete(3, start=-1), [-1, 1], [[1, 0, 0], [0, 0, 1]]),
    "multi-discrete": (
        spaces.MultiDiscrete([2, 3], start=[0, 5]),
        [[1, 5], [0, 7]],
        [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]],
    ),
    "multi-binary": (spaces.MultiBinary(3), [[0, 1, 1], [1, 0, 0]], [[0, 1, 1], [1, 0, 0]]),
    "box": (spaces.Box(-9, 9, (2, 2), np.float64), [[[1, 2], [3, 4]]], [[1, 2, 3, 4]]),
    "scalar": (spaces.Box(-9, 9, (), np.float32), [5.0, 6.0], [[5], [6]]),
    "bytes": (spaces.Box(0, 255, (2,), np.uint8), [[0, 255]], [[0, 1]]),
}


@pytest.mark.parametrize(("space", "obs", "flat"), OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_observations_become_vectors(space, obs, flat):
    encoder = MLP(space, MLPConfig(hidden=()))
    tensor = torch.from_numpy(np.asarray(obs, space.dtype))
    assert encoder(tensor).tolist() == flat
    assert encoder.size == flat_size(space) == len(flat[0])


@pytest.mark.parametrize(
    "space", [spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Text(2)}), spaces.Text(3)]
)
def test_other_observations_are_refused_by_name(space):
    with pytest.raises(TypeError, match="encoder 'mlp' takes Box"):
        MLP(space, MLPConfig())


class Shaky(Encoder):
    """What users bring: dropout, statistics of batches, and a part that shall stay as it is."""

    Config = NoConfig
    shared_by_default = True

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.kept = nn.BatchNorm1d(8).eval()
        self.size = 8

    def forward(self, obs):
        return self.kept(self.layers(obs))


def test_parts_from_outside_act_without_what_they_do_to_learn():
    torso = Torso(Shaky(), NoMemory(8, NoMemory.Config()))
    step = make_step(torso, nn.Linear(8, 2), torch.device("cpu"))
    before = {name: value.clone() for name, value in torso.state_dict().items()}
    obs, state, first = np.ones((1, 3), np.float32), np.zeros((1, 0), np.float32), np.ones(1, bool)
    actions = np.stack([step(obs, state, first)[0] for _ in range(5)])
    assert (actions == actions[0]).all()
    assert all(torch.equal(value, before[name]) for name, value in torso.state_dict().items())
    # It learns as it was made.
    assert torso.encoder.layers.training and not torso.encoder.kept.training
    torso.single_step(torch.ones(4, 3))
    assert torso.encoder.layers[1].num_batches_tracked == 1 and torso.encoder.kept.num_batches_tracked == 0
