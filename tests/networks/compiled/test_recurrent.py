"""The compiled LSTM and GRU give what torch's give, outputs and gradients, where chunks are cut by hand."""

import copy
import statistics
import time

import pytest
import torch

from palaestra.networks.compiled import recurrent
from palaestra.networks.memories.gru import GRU, GRUConfig
from palaestra.networks.memories.lstm import LSTM, LSTMConfig
from palaestra.networks.optimizer import FlatAdam
from palaestra.training.run.build import has_compiler

KINDS = {"lstm": (LSTM, LSTMConfig), "gru": (GRU, GRUConfig)}
compiled_here = pytest.mark.skipif(not has_compiler(), reason="needs a C++ compiler")


@pytest.fixture(params=KINDS)
def pair(request):
    """One that is compiled and one of torch's with the same weights."""

    def make(hidden, inputs=3):
        torch.manual_seed(0)
        kind, config = KINDS[request.param]
        plain = kind(inputs, config(hidden=hidden, readout=()))
        with torch.no_grad():
            for parameter in plain.parameters():  # biases that are zero would hide mistakes
                parameter.add_(0.3 * torch.randn_like(parameter))
        compiled = copy.deepcopy(plain)
        compiled.compiled = True
        return compiled, plain

    return make


def everything(memory, x, state, first, of_outputs, of_state):
    x, state = x.clone().requires_grad_(), state.clone().requires_grad_()
    memory.zero_grad()
    y, after = memory(x, state, first)
    ((y * of_outputs).sum() + (after * of_state).sum()).backward()
    return [y, after, x.grad, state.grad, *(parameter.grad for parameter in memory.parameters())]


@compiled_here
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("length", "columns", "hidden"), [(1, 1, 16), (2, 3, 32), (23, 7, 80), (40, 8, 64)])
def test_outputs_and_gradients_are_those_of_torch(pair, length, columns, hidden, share):
    compiled, plain = pair(hidden)
    assert recurrent.takes(torch.zeros(1), hidden)
    x, state = torch.randn(length, columns, 3), torch.randn(columns, plain.state_size)
    first = torch.rand(length, columns) < share
    weights = torch.randn(length, columns, hidden), torch.randn(columns, plain.state_size)
    ours, theirs = (everything(memory, x, state, first, *weights) for memory in (compiled, plain))
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def transposed(x):
    """The same numbers, laid out the other way round."""
    return x.T.contiguous().T if x.ndim == 2 else x.transpose(0, 1).contiguous().transpose(0, 1)


@compiled_here
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("layout", [torch.clone, transposed])
@pytest.mark.parametrize("name", ["lstm_forward", "lstm_backward", "gru_forward", "gru_backward"])
def test_operations_change_none_of_their_arguments_and_give_the_shapes_that_they_say(name, layout, columns):
    length, hidden = 5, 16
    gates = 4 if name.startswith("lstm") else 3
    shapes = {
        "gates": (length * columns, gates * hidden),
        "state": (columns, (2 if gates == 4 else 1) * hidden),
        "keep": (length, columns),
        "back": (gates * hidden, hidden),
        "bias_back": (gates * hidden,),
        "cells": (length + 1, columns, hidden),
        "dy": (length, columns, hidden),
    }
    shapes |= {"before": shapes["dy"], "inner": shapes["gates"], "d_state": shapes["state"]}
    names = {
        "lstm_forward": ["gates", "state", "keep", "back"],
        "lstm_backward": ["dy", "d_state", "gates", "cells", "keep", "back"],
        "gru_forward": ["gates", "state", "keep", "back", "bias_back"],
        "gru_backward": ["dy", "d_state", "gates", "inner", "before", "keep", "back"],
    }[name]
    torch.manual_seed(0)
    made = {each: torch.rand(shapes[each]) for each in names}
    made["keep"] = (made["keep"] > 0.3).float()
    operation = getattr(torch.ops.palaestra, name).default
    plain = operation(*made.values())
    arguments = tuple(x if x.ndim == 1 else layout(x) for x in made.values())
    torch.library.opcheck(operation, arguments, test_utils=("test_schema", "test_faketensor"))
    for left, right in zip(operation(*arguments), plain, strict=True):
        assert left.is_contiguous() and torch.equal(left, right)


@compiled_here
def test_gates_that_are_shut_or_open_for_good_stay_numbers(pair):
    compiled, plain = pair(16)
    x, state = 1e4 * torch.randn(6, 2, 3), torch.randn(2, plain.state_size)
    first = torch.zeros(6, 2, dtype=torch.bool)
    with torch.no_grad():
        for left, right in zip(compiled(x, state, first), plain(x, state, first), strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=1e-5)


@compiled_here
def test_what_is_not_a_number_is_passed_on(pair):
    compiled, _ = pair(16)
    x = torch.randn(4, 2, 3)
    x[1, 0, 0] = float("nan")
    first = torch.zeros(4, 2, dtype=torch.bool)
    y, _ = compiled(x, compiled.initial_state(2), first)
    assert y[1:, 0].isnan().all() and not y[:, 1].isnan().any() and not y[0].isnan().any()
    first[3] = True  # but not into the next episode
    y, state = compiled(x, compiled.initial_state(2), first)
    assert y[1:3, 0].isnan().all() and not y[3].isnan().any() and not state.isnan().any()


def test_other_widths_and_types_are_left_to_torch(pair):
    assert not recurrent.takes(torch.zeros(1), 24)
    assert not recurrent.takes(torch.zeros(1, dtype=torch.float64), 16)
    assert not recurrent.takes(torch.zeros(1, device="meta"), 16)
    compiled, plain = pair(7)
    arguments = torch.randn(5, 2, 3), torch.randn(2, plain.state_size), torch.rand(5, 2) < 0.3
    for left, right in zip(compiled(*arguments), plain(*arguments), strict=True):
        assert torch.equal(left, right)


def test_where_compiling_fails_torchs_are_taken_with_a_warning(pair, monkeypatch):
    from torch._inductor.codecache import CppCodeCache

    def fail(*arguments, **more):
        raise RuntimeError("no such compiler")

    monkeypatch.setattr(CppCodeCache, "load", fail)
    recurrent.load_kernels.cache_clear()
    compiled, plain = pair(16)
    arguments = torch.randn(5, 2, 3), torch.randn(2, plain.state_size), torch.rand(5, 2) < 0.3
    with pytest.warns(RuntimeWarning, match="not compiled, which is slower: RuntimeError: no such compiler"):
        outputs = compiled(*arguments)
    for left, right in zip(outputs, plain(*arguments), strict=True):
        assert torch.equal(left, right)
    recurrent.load_kernels.cache_clear()


@pytest.mark.benchmark
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@compiled_here
def test_a_compiled_step_takes_less_time_than_torchs(pair):
    """CPU time of an optimiser step: chunks of 32 steps of 8 columns, 64 units, some episodes begin on the way."""
    ours, plain = pair(64, 4)
    batch = torch.randn(32, 8, 4), torch.randn(8, plain.state_size), torch.rand(32, 8) < 0.05

    def steps(memory, compile):
        def loss(x, state, first):
            y, after = memory(x, state, first)
            return y.square().mean() + after.mean(), {}

        optimizer = FlatAdam(memory, compile=compile)
        return lambda: optimizer.step(loss, batch, 1e-3)

    calls = {"compiled": steps(ours, True), "torch's": steps(plain, False)}
    times = {name: [] for name in calls}
    for _ in range(15):
        for name, call in calls.items():
            call()
            start = time.process_time()
            for _ in range(100):
                call()
            times[name].append((time.process_time() - start) / 100 * 1e6)
    medians = {name: statistics.median(each) for name, each in times.items()}
    print(", ".join(f"{name}: {median:.0f} us" for name, median in medians.items()))
    assert medians["compiled"] < medians["torch's"]
