"""Gated recurrent unit (Cho et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from ..compiled.recurrent import gru, takes
from ..layers import keeping, mlp
from ..segments import find_segments
from ..torso import Memory

# As a gate's input this is 1 after the sigmoid, exactly in float32.
SHUT = 150.0


@dataclass(frozen=True)
class GRUConfig:
    """Gated recurrent unit."""

    hidden: Annotated[int, Gt(0)] = 64
    """Width of the state."""
    readout: tuple[Annotated[int, Gt(0)], ...] = (64,)
    """Width of each tanh layer behind it: gates alone are slow to learn what depends on both past and present."""


class GRU(Memory):
    """One layer; the state `[B, H]` is its output.

    Where it may be compiled, a chunk is one call of ours (`compiled/recurrent.py`). Otherwise it is one of torch's, and
    chunks with episode starts inside are cut there; steps without data in between keep the state, or make it zero
    where the next segment begins.
    """

    Config = GRUConfig
    compiles = True

    def __init__(self, input_size: int, config: GRUConfig):
        super().__init__()
        self.state_size = config.hidden
        self.into = nn.Parameter(torch.empty(3 * config.hidden, input_size))
        self.back = nn.Parameter(torch.empty(3 * config.hidden, config.hidden))
        self.bias, self.bias_back = (nn.Parameter(torch.zeros(3 * config.hidden)) for _ in range(2))
        for into, back in zip(self.into.detach().chunk(3), self.back.detach().chunk(3), strict=True):
            nn.init.xavier_uniform_(into)
            nn.init.orthogonal_(back)
        self.bias.detach()[config.hidden : 2 * config.hidden] = keeping(config.hidden)
        self.readout = mlp((config.hidden, *config.readout), "tanh")
        self.size = (config.hidden, *config.readout)[-1]

    @property
    def traceable(self) -> bool:
        """Whether it is unrolled by a call of ours."""
        return self.compiled and takes(self.back, self.state_size)

    def forward(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Unroll a chunk `[T, B, D]`."""
        y, state = self._unroll(x, state, first)
        return self.readout(y), state

    def _unroll(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """The same before the readout."""
        if self.traceable:
            return gru(x, state, first, self.into, self.back, self.bias, self.bias_back)
        state = state * ~first[0].unsqueeze(-1)
        if len(first) == 1 or not first[1:].any():
            return self._run(x, state, self.into)
        segments = find_segments(first)
        # Gates in torch's order: reset, update, new. One keeps the state, the other makes a new one of zeros: nothing
        # of the old one, and nothing of its own but the bias, which is taken away.
        keep = x.new_tensor([0.0, SHUT, 0.0]).repeat_interleave(self.state_size)
        wipe = torch.cat([x.new_full((2 * self.state_size,), -SHUT), -self.bias[2 * self.state_size :]])
        weight = torch.cat([self.into, torch.stack([keep, wipe], -1)], -1)
        y, last = self._run(segments.arrange(x), segments.begin(state), weight)
        return segments.restore(y, first.shape[1]), last[segments.last]

    def _run(self, x: Tensor, state: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Run without episode starts: outputs `[L, K, H]` and the state `[K, H]` after the last row."""
        parameters = (weight, self.back, self.bias, self.bias_back)
        y, last = torch.gru(x, state.unsqueeze(0), parameters, True, 1, 0.0, self.training, False, False)
        return y, last[0]
