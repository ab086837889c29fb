"""One step of a memory, written once more for exporters, is one step of the memory."""

import pytest
import torch

from palaestra.networks.memories.gru import GRU, GRUConfig
from palaestra.networks.memories.lstm import LSTM, LSTMConfig
from palaestra.networks.memories.none import NoMemory, NoMemoryConfig
from palaestra.networks.memories.transformer import Transformer, TransformerConfig
from palaestra.networks.torso import Memory
from palaestra.training.export.memory_steps import MemoryStep

MEMORIES = {
    "none": lambda: NoMemory(5, NoMemoryConfig()),
    "lstm": lambda: LSTM(5, LSTMConfig(hidden=6, readout=(4,))),
    "gru": lambda: GRU(5, GRUConfig(hidden=6, readout=())),
    "transformer": lambda: Transformer(5, TransformerConfig(size=8, layers=3, heads=2, window=4, hidden=8)),
    "gated transformer": lambda: Transformer(5, TransformerConfig(size=8, heads=4, window=3, gated=True)),
}


class Sum(Memory):
    """A memory of the user's own: there is no step for it, so its `forward` is used."""

    size, state_size = 5, 5

    def forward(self, x, state, first):
        after = state * ~first[0].unsqueeze(-1) + x[0]
        return after.unsqueeze(0), after


@pytest.mark.parametrize("make", [*MEMORIES.values(), Sum], ids=[*MEMORIES, "of the user's own"])
def test_steps_are_those_of_the_memory(make):
    torch.manual_seed(0)
    memory = make()
    for parameter in memory.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    step = MemoryStep(memory)
    first = torch.rand(12, 3) < 0.2
    first[0] = True
    x, state = torch.randn(12, 3, 5), memory.initial_state(3)
    stepped = state
    with torch.no_grad():
        for t in range(12):
            y, state = memory(x[t : t + 1], state, first[t : t + 1])
            stepped_y, stepped = step(x[t], stepped, first[t])
            torch.testing.assert_close(stepped_y, y[0], atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(stepped, state, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("make", [make for name, make in MEMORIES.items() if name != "none"])
def test_what_was_before_an_episode_does_not_matter(make):
    memory = make()
    step, x, first = MemoryStep(memory), torch.randn(2, 5), torch.ones(2, dtype=torch.bool)
    fresh = memory.initial_state(2)
    for one, other in zip(
        step(x, fresh, first), step(x, torch.full_like(fresh, torch.nan), first), strict=True
    ):
        assert torch.equal(one, other)
