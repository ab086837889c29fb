"""Memories of all kinds, small enough for tests of agents."""

from palaestra.networks.memories.gru import GRU, GRUConfig
from palaestra.networks.memories.lstm import LSTM, LSTMConfig
from palaestra.networks.memories.none import NoMemory, NoMemoryConfig
from palaestra.networks.memories.transformer import Transformer, TransformerConfig
from palaestra.networks.torso import Memory


class Forgetful(Memory):
    """Has a state, but makes nothing of it: windows must then give what single transitions give."""

    Config = NoMemoryConfig

    def __init__(self, size, config):
        super().__init__()
        self.size, self.state_size = size, 1

    def forward(self, x, state, first):
        return x, state


MEMORIES = {
    "none": (NoMemory, NoMemoryConfig()),
    "forgetful": (Forgetful, NoMemoryConfig()),
    "lstm": (LSTM, LSTMConfig(hidden=5)),
    "gru": (GRU, GRUConfig(hidden=5)),
    "transformer": (Transformer, TransformerConfig(size=4, heads=2, window=4, hidden=4)),
}
