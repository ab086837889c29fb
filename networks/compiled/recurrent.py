"""LSTM and GRU over chunks with episode starts inside, as one call of C++ forward and one back (`recurrent.cpp`).

torch's fused LSTM takes 18 us a time step forward and 24 back (8 columns, 64 units, one core), its GRU has no fused
gradient, and neither can begin anew in the middle: chunks have to be cut there. These take 5 and 4.

TorchInductor's loader compiles them, with the compiler and the flags of compiled steps (`step.py`), and keeps what it
has compiled. It is not promised to stay: whoever raises torch's upper limit in pyproject.toml runs the tests of
`tests/networks/compiled`.

To torch they are operations of its own (`torch.ops.palaestra`), which a step that is traced contains as they are.
"""

from __future__ import annotations

import ctypes
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .step import not_compiled

# Vectors of the widest processors hold so many numbers.
MULTIPLE = 16


@functools.cache
def load_kernels() -> ctypes.CDLL | None:
    """Compile and load them, in 3 to 5 s, once; None, with a warning, where it fails."""
    try:
        from torch._inductor.codecache import CppCodeCache

        source = Path(__file__).with_name("recurrent.cpp").read_text(encoding="utf-8")
        # Products and sums may be one instruction, which twice as many fit into.
        return CppCodeCache.load(source, device_type="cpu", extra_flags=("-ffp-contract=fast",))
    except Exception as error:  # compilers fail in many ways, and training need not
        warnings.warn(not_compiled(error), RuntimeWarning, stacklevel=2)
        return None


def takes(weight: Tensor, hidden: int) -> bool:
    """Whether there is a kernel for such weights and so many units."""
    fits = weight.is_cpu and weight.dtype == torch.float32 and hidden % MULTIPLE == 0
    return fits and load_kernels() is not None


def lstm(
    x: Tensor, state: Tensor, first: Tensor, into: Tensor, back: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Unroll an LSTM, beginning anew at episode starts.

    Args:
        x: inputs `[T, B, D]`.
        state: output and cell before the first step `[B, 2 H]`.
        first: episode starts `[T, B]`.
        into: weights of inputs `[4 H, D]`, in torch's order: input, forget, cell, output.
        back: weights of outputs `[4 H, H]`.
        bias: `[4 H]`, both of torch's added up.

    Returns:
        outputs `[T, B, H]` and the state `[B, 2 H]` after the last step.
    """
    y, after, *_ = _LSTM.apply(x, state, (~first).to(x.dtype), into, back, bias)
    return y, after


def gru(
    x: Tensor, state: Tensor, first: Tensor, into: Tensor, back: Tensor, bias: Tensor, bias_back: Tensor
) -> tuple[Tensor, Tensor]:
    """Unroll a GRU, beginning anew at episode starts.

    Args:
        x: inputs `[T, B, D]`.
        state: output before the first step `[B, H]`.
        first: episode starts `[T, B]`.
        into: weights of inputs `[3 H, D]`, in torch's order: reset, update, new.
        back: weights of outputs `[3 H, H]`.
        bias: of inputs `[3 H]`.
        bias_back: of outputs `[3 H]`.

    Returns:
        outputs `[T, B, H]` and the state `[B, H]` after the last step.
    """
    y, after, *_ = _GRU.apply(x, state, (~first).to(x.dtype), into, back, bias, bias_back)
    return y, after


def operation(name: str, schema: str) -> Callable[[Callable[..., Any]], None]:
    """Make a function on the CPU an operation of torch's.

    Not by `torch.library.custom_op`: `torch.func.grad` refuses what that makes (pytorch issue 168393, torch 2.13).
    """
    torch.library.define(f"palaestra::{name}", schema)
    return torch.library.impl(f"palaestra::{name}", "cpu")


@operation(
    "lstm_forward",
    "(Tensor gates, Tensor state, Tensor keep, Tensor back) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _lstm_forward(
    gates: Tensor, state: Tensor, keep: Tensor, back: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs `[T, B, H]`, outputs before each step, cells `[T + 1, B, H]`, and gates `[T * B, 4 H]`.

    `gates` are what comes from the inputs, and `keep [T, B]` is 0 where an episode starts.
    """
    (length, columns), hidden = keep.shape, back.shape[1]
    gates = _own(gates)
    y, before, cells = (gates.new_empty(rows, columns, hidden) for rows in (length, length, length + 1))
    before[0], cells[0] = state[:, :hidden], state[:, hidden:]
    _call("lstm_forward", gates, *_dense(back, keep), before, y, cells, length, columns, hidden)
    return y, before, cells, gates


@torch.library.register_fake("palaestra::lstm_forward")
def _lstm_forward_shapes(gates: Tensor, state: Tensor, keep: Tensor, back: Tensor) -> tuple[Tensor, ...]:
    (length, columns), hidden = keep.shape, back.shape[1]
    y, before, cells = (gates.new_empty(rows, columns, hidden) for rows in (length, length, length + 1))
    return y, before, cells, gates.new_empty(gates.shape)


@operation(
    "lstm_backward",
    "(Tensor dy, Tensor d_state, Tensor gates, Tensor cells, Tensor keep, Tensor back) -> (Tensor, Tensor)",
)
def _lstm_backward(
    dy: Tensor, d_state: Tensor, gates: Tensor, cells: Tensor, keep: Tensor, back: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of what came in as `gates` and `state`."""
    (length, columns), hidden = keep.shape, back.shape[1]
    dh, dc = _own(d_state[:, :hidden]), _own(d_state[:, hidden:])
    d_gates = gates.new_empty(gates.shape)
    arrays = _dense(dy, gates, cells, back, keep)
    _call("lstm_backward", *arrays, dh, dc, d_gates, length, columns, hidden)
    return d_gates, torch.cat([dh, dc], -1)


@torch.library.register_fake("palaestra::lstm_backward")
def _lstm_backward_shapes(
    dy: Tensor, d_state: Tensor, gates: Tensor, cells: Tensor, keep: Tensor, back: Tensor
) -> tuple[Tensor, ...]:
    return gates.new_empty(gates.shape), d_state.new_empty(d_state.shape)


@operation(
    "gru_forward",
    "(Tensor gates, Tensor state, Tensor keep, Tensor back, Tensor bias_back)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _gru_forward(
    gates: Tensor, state: Tensor, keep: Tensor, back: Tensor, bias_back: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs `[T, B, H]`, outputs before each step, gates `[T * B, 3 H]`, and what of them came from outputs before.

    `gates` are what comes from the inputs, and `keep [T, B]` is 0 where an episode starts.
    """
    (length, columns), hidden = keep.shape, back.shape[1]
    gates, inner = _own(gates), bias_back.repeat(length * columns, 1)
    y, before = gates.new_empty(length, columns, hidden), gates.new_empty(length, columns, hidden)
    before[0] = state
    _call("gru_forward", gates, inner, *_dense(back, keep), before, y, length, columns, hidden)
    return y, before, gates, inner


@torch.library.register_fake("palaestra::gru_forward")
def _gru_forward_shapes(
    gates: Tensor, state: Tensor, keep: Tensor, back: Tensor, bias_back: Tensor
) -> tuple[Tensor, ...]:
    (length, columns), hidden = keep.shape, back.shape[1]
    y, before = gates.new_empty(length, columns, hidden), gates.new_empty(length, columns, hidden)
    return y, before, gates.new_empty(gates.shape), gates.new_empty(gates.shape)


@operation(
    "gru_backward",
    "(Tensor dy, Tensor d_state, Tensor gates, Tensor inner, Tensor before, Tensor keep, Tensor back)"
    " -> (Tensor, Tensor, Tensor)",
)
def _gru_backward(
    dy: Tensor, d_state: Tensor, gates: Tensor, inner: Tensor, before: Tensor, keep: Tensor, back: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of what came in as `gates`, of their parts from outputs before, and of `state`."""
    (length, columns), hidden = keep.shape, back.shape[1]
    dh, d_gates, d_inner = _own(d_state), gates.new_empty(gates.shape), gates.new_empty(gates.shape)
    arrays = _dense(dy, gates, inner, before, back, keep)
    _call("gru_backward", *arrays, dh, d_gates, d_inner, length, columns, hidden)
    return d_gates, d_inner, dh


@torch.library.register_fake("palaestra::gru_backward")
def _gru_backward_shapes(
    dy: Tensor, d_state: Tensor, gates: Tensor, inner: Tensor, before: Tensor, keep: Tensor, back: Tensor
) -> tuple[Tensor, ...]:
    return gates.new_empty(gates.shape), gates.new_empty(gates.shape), d_state.new_empty(d_state.shape)


class _LSTM(torch.autograd.Function):
    """Outputs, the state after, and what the gradient needs: gates, outputs before each step, cells."""

    @staticmethod
    def forward(
        x: Tensor, state: Tensor, keep: Tensor, into: Tensor, back: Tensor, bias: Tensor
    ) -> tuple[Tensor, ...]:
        gates = torch.addmm(bias, x.flatten(0, 1), into.T)
        y, before, cells, gates = torch.ops.palaestra.lstm_forward(gates, state, keep, back)
        return y, torch.cat([y[-1], cells[-1]], -1), gates, before, cells

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, _, keep, into, back, _ = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(x, keep, into, back, *output[2:])

    @staticmethod
    def backward(ctx: Any, dy: Tensor, d_state: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, keep, into, back, gates, before, cells = ctx.saved_tensors
        d_gates, d_first = torch.ops.palaestra.lstm_backward(dy, d_state, gates, cells, keep, back)
        d_back, d_into, d_bias = _of_weights(d_gates, before, x)
        return _of_inputs(ctx, d_gates, x, into), d_first, None, d_into, d_back, d_bias


class _GRU(torch.autograd.Function):
    """Outputs, the state after, and what the gradient needs: gates, their inner parts, outputs before each step."""

    @staticmethod
    def forward(
        x: Tensor, state: Tensor, keep: Tensor, into: Tensor, back: Tensor, bias: Tensor, bias_back: Tensor
    ) -> tuple[Tensor, ...]:
        gates = torch.addmm(bias, x.flatten(0, 1), into.T)
        y, before, gates, inner = torch.ops.palaestra.gru_forward(gates, state, keep, back, bias_back)
        return y, y[-1].clone(), gates, inner, before

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, _, keep, into, back, _, _ = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(x, keep, into, back, *output[2:])

    @staticmethod
    def backward(ctx: Any, dy: Tensor, d_state: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, keep, into, back, gates, inner, before = ctx.saved_tensors
        d_gates, d_inner, d_first = torch.ops.palaestra.gru_backward(
            dy, d_state, gates, inner, before, keep, back
        )
        d_into, d_bias = _of_weights(d_gates, x)
        d_back, d_bias_back = _of_weights(d_inner, before)
        return _of_inputs(ctx, d_gates, x, into), d_first, None, d_into, d_back, d_bias, d_bias_back


def _of_weights(d_gates: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Gradients of the weights of `inputs [T, B, ...]`, and of the bias."""
    return [*(d_gates.T @ part.flatten(0, 1) for part in inputs), d_gates.sum(0)]


def _of_inputs(ctx: Any, d_gates: Tensor, x: Tensor, into: Tensor) -> Tensor | None:
    """The gradient of the inputs, where one is asked for: observations have none."""
    return (d_gates @ into).view_as(x) if ctx.needs_input_grad[0] else None


def _own(x: Tensor) -> Tensor:
    """A copy to write into, dense and in order: kernels know no strides."""
    return x.clone(memory_format=torch.contiguous_format)


def _dense(*arrays: Tensor) -> list[Tensor]:
    """Arrays to read, copied where they are not dense and in order."""
    return [each.contiguous() for each in arrays]


def _call(name: str, *arguments: Tensor | int) -> None:
    """Call a kernel with dense tensors and sizes."""
    kernel = getattr(load_kernels(), name)
    kernel(
        *(
            ctypes.c_void_p(each.data_ptr()) if isinstance(each, Tensor) else ctypes.c_int64(each)
            for each in arguments
        )
    )
