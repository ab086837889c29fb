"""Parts from outside that break their contract are named when they are built."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from palaestra.networks.encoders.mlp import MLP
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.torso import Encoder, Memory, build_torso


@dataclass(frozen=True)
class NoConfig:
    pass


SPACE = spaces.Dict({"at": spaces.Box(-1, 1, (3,)), "map": spaces.Discrete(4)})


class Right(Encoder):
    Config = NoConfig

    def __init__(self, space, config):
        super().__init__()
        self.layer, self.size = nn.Linear(3, 8), 8

    def forward(self, obs):
        return self.layer(obs["at"])


class Wide(Right):
    def forward(self, obs):
        return torch.cat([super().forward(obs)] * 2, -1)


class Arrays(Right):
    def forward(self, obs):
        return super().forward(obs).numpy()


class Deep(Right):
    def forward(self, obs):
        return super().forward(obs)[:, None]


class Unsized(Right):
    def __init__(self, space, config):
        super().__init__(space, config)
        del self.size


class Unbegun(Right):
    def __init__(self, space, config):
        self.layer = nn.Linear(3, 8)


class Strange(Right):
    def forward(self, obs):
        return obs["where"]


class Sum(Memory):
    Config = NoConfig

    def __init__(self, size, config):
        super().__init__()
        self.size = self.state_size = size

    def forward(self, x, state, first):
        return x, state


class Alone(Sum):
    def forward(self, x, state, first):
        return x


class Swapped(Sum):
    def forward(self, x, state, first):
        return state, x


class Stateless(Sum):
    def __init__(self, size, config):
        super().__init__(size, config)
        del self.state_size


@pytest.mark.parametrize(
    ("encoder", "memory", "told"),
    [
        (Wide, NoMemory, r"Wide returns features \(2, 16\) torch.float32; expected are numbers \(2, 8\)"),
        (Arrays, NoMemory, "Arrays returns features ndarray"),
        (Deep, NoMemory, r"Deep returns features \(2, 1, 8\)"),
        (Unsized, NoMemory, "Unsized fails when it is built: AttributeError.*size"),
        (Unbegun, NoMemory, "Unbegun fails when it is built: AttributeError: cannot assign module before"),
        (Strange, NoMemory, "Strange fails when it encodes two observations: KeyError: 'where'"),
        (Right, Alone, "Alone returns Tensor, not outputs and the next state"),
        (Right, Swapped, r"Swapped returns outputs \(2, 8\)"),
        (Right, Stateless, "Stateless fails when it begins two episodes: AttributeError.*state_size"),
    ],
)
def test_what_breaks_its_contract_is_named(encoder, memory, told):
    with pytest.raises(TypeError, match=told):
        build_torso(SPACE, encoder, memory)


def test_what_keeps_it_is_left_as_it_is():
    SPACE.seed(3)
    drawn = SPACE.sample()
    SPACE.seed(3)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    torso = build_torso(SPACE, Right, Sum)
    assert torso.training and not torso.is_ours and build_torso(spaces.Box(0, 1, (3,)), MLP, NoMemory).is_ours
    again = SPACE.sample()
    assert np.array_equal(drawn["at"], again["at"]) and drawn["map"] == again["map"]
    assert not torch.equal(before, torch.get_rng_state())  # by its weights
