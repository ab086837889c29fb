"""Long short-term memory (Hochreiter & Schmidhuber 1997, with forget gates)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from ..compiled.recurrent import lstm, takes
from ..layers import keeping, mlp
from ..segments import find_segments
from ..torso import Memory

# As a gate's input this is 1 after the sigmoid, and 0 with the other sign, exactly in float32.
SHUT = 150.0


@dataclass(frozen=True)
class LSTMConfig:
    """Long short-term memory."""

    hidden: Annotated[int, Gt(0)] = 64
    """Width of output and cell."""
    readout: tuple[Annotated[int, Gt(0)], ...] = (64,)
    """Width of each tanh layer behind it: gates alone are slow to learn what depends on both past and present."""


class LSTM(Memory):
    """One layer; the state `[B, 2 H]` is its output and cell side by side.

    Where it may be compiled, a chunk is one call of ours (`compiled/recurrent.py`). Otherwise it is one of torch's: a
    chunk with episode starts inside is cut there, and its segments run side by side and one behind the other. Steps
    without data in between shut the input gate; the forget gate is open where the cell must pass unchanged, so that the
    state at the end is right, and shut where the next segment begins anew.
    """

    Config = LSTMConfig
    compiles = True

    def __init__(self, input_size: int, config: LSTMConfig):
        super().__init__()
        self.hidden = config.hidden
        self.state_size = 2 * config.hidden
        self.into = nn.Parameter(torch.empty(4 * config.hidden, input_size))
        self.back = nn.Parameter(torch.empty(4 * config.hidden, config.hidden))
        self.bias, self.bias_back = (nn.Parameter(torch.zeros(4 * config.hidden)) for _ in range(2))
        for into, back in zip(self.into.detach().chunk(4), self.back.detach().chunk(4), strict=True):
            nn.init.xavier_uniform_(into)
            nn.init.orthogonal_(back)
        # What is kept for long is added to little at a time, or it would say nothing but how long it has been kept.
        enter, forget = self.bias.detach().chunk(4)[:2]
        forget[:] = keeping(config.hidden)
        enter[:] = -forget
        self.readout = mlp((config.hidden, *config.readout), "tanh")
        self.size = (config.hidden, *config.readout)[-1]

    @property
    def traceable(self) -> bool:
        """Whether it is unrolled by a call of ours."""
        return self.compiled and takes(self.back, self.hidden)

    def forward(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Unroll a chunk `[T, B, D]`."""
        y, state = self._unroll(x, state, first)
        return self.readout(y), state

    def _unroll(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """The same before the readout."""
        if self.traceable:
            return lstm(x, state, first, self.into, self.back, self.bias + self.bias_back)
        state = state * ~first[0].unsqueeze(-1)
        if len(first) == 1 or not first[1:].any():
            return self._run(x, state, self.into)
        segments = find_segments(first)
        # Gates in torch's order: input, forget, cell, output. Both shut the input; one forgets all and shows nothing.
        gates = x.new_tensor([[-SHUT, SHUT, 0.0, 0.0], [-SHUT, -SHUT, 0.0, -SHUT]])
        weight = torch.cat([self.into, gates.repeat_interleave(self.hidden, 1).T], -1)
        outputs, last = self._run(segments.arrange(x), segments.begin(state), weight)
        y = segments.restore(outputs, first.shape[1])
        return y, torch.cat([y[-1], last[segments.last, self.hidden :]], -1)

    def _run(self, x: Tensor, state: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Run without episode starts: outputs `[L, K, H]` and the state `[K, 2 H]` after the last row."""
        output, cell = (part.unsqueeze(0).contiguous() for part in state.split(self.hidden, -1))
        parameters = (weight, self.back, self.bias, self.bias_back)
        y, output, cell = torch.lstm(x, (output, cell), parameters, True, 1, 0.0, self.training, False, False)
        return y, torch.cat([output[0], cell[0]], -1)
