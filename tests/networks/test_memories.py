"""One contract for all memories: how a chunk is cut does not matter, and nothing crosses an episode start."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from palaestra.networks.memories import transformer
from palaestra.networks.memories.gru import GRU, GRUConfig
from palaestra.networks.memories.lstm import LSTM, LSTMConfig
from palaestra.networks.memories.none import NoMemory, NoMemoryConfig
from palaestra.networks.memories.transformer import Transformer, TransformerConfig
from palaestra.networks.numpy_twins.registry import find_twin
from palaestra.training.run.build import has_compiler


def compiled(memory):
    """Where there is no compiler, it warns and stays as it is."""
    memory.compiled = has_compiler()
    return memory


MEMORIES = {
    "none": lambda: NoMemory(5, NoMemoryConfig()),
    "lstm": lambda: LSTM(5, LSTMConfig(hidden=7)),
    "lstm without a readout": lambda: LSTM(5, LSTMConfig(hidden=7, readout=())),
    "gru": lambda: GRU(5, GRUConfig(hidden=7, readout=(6, 3))),
    "gru without a readout": lambda: GRU(5, GRUConfig(hidden=7, readout=())),
    "compiled lstm": lambda: compiled(LSTM(5, LSTMConfig(hidden=16))),
    "compiled gru": lambda: compiled(GRU(5, GRUConfig(hidden=32, readout=()))),
    "transformer": lambda: Transformer(5, TransformerConfig(size=8, heads=2, window=6, hidden=8)),
    "gated transformer": lambda: Transformer(
        5, TransformerConfig(size=8, heads=2, window=4, hidden=8, layers=3, gated=True)
    ),
}


@pytest.fixture(params=MEMORIES)
def memory(request):
    torch.manual_seed(0)
    built = MEMORIES[request.param]()
    # Biases that start at zero would hide mistakes.
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return built


def chunk(num_envs: int, length: int = 23, share: float = 0.15):
    return torch.randn(length, num_envs, 5), torch.rand(length, num_envs) < share


def unrolled(memory, x, state, first, cuts):
    outputs = []
    for start, end in pairwise([0, *cuts, len(x)]):
        y, state = memory(x[start:end], state, first[start:end])
        outputs.append(y)
    return torch.cat(outputs), state


@pytest.mark.parametrize("num_envs", [1, 4])
@pytest.mark.parametrize("share", [0.0, 0.15, 1.0])
def test_whole_chunked_and_stepwise_unrolls_agree(memory, num_envs, share):
    x, first = chunk(num_envs, share=share)
    # A state that earlier steps have left behind.
    _, state = memory(x[:9], memory.initial_state(num_envs), first[:9])
    whole, end = unrolled(memory, x, state, first, [])
    for cuts in ([1], [4, 5, 17], range(1, len(x))):
        y, state_after = unrolled(memory, x, state, first, cuts)
        torch.testing.assert_close(y, whole, rtol=0, atol=1e-5)
        torch.testing.assert_close(state_after, end, rtol=0, atol=1e-5)


def test_nothing_before_an_episode_start_changes_anything_after_it(memory):
    x, first = chunk(3, share=0.0)
    first[10] = True
    other = x.clone()
    other[:10] += torch.randn(10, 3, 5)
    state = memory.initial_state(3)
    left, left_state = memory(x, state, first)
    right, right_state = memory(other, state + 1.0 if memory.state_size else state, first)
    torch.testing.assert_close(left[10:], right[10:], rtol=0, atol=1e-6)
    if memory.state_size:
        torch.testing.assert_close(left_state, right_state, rtol=0, atol=1e-6)


def test_a_memory_remembers(memory):
    if memory.state_size == 0:
        pytest.skip("nothing to remember with")
    x, first = chunk(2, share=0.0)
    other = x.clone()
    other[18] += 1.0
    left, right = (memory(each, memory.initial_state(2), first)[0] for each in (x, other))
    assert torch.equal(left[:18], right[:18])
    assert (left[20] - right[20]).abs().max() > 1e-4


def test_columns_do_not_mix(memory):
    x, first = chunk(4)
    whole, _ = memory(x, memory.initial_state(4), first)
    for column in range(4):
        alone, _ = memory(x[:, [column]], memory.initial_state(1), first[:, [column]])
        torch.testing.assert_close(alone, whole[:, [column]], rtol=0, atol=1e-5)


def test_gradients_agree_however_a_chunk_is_cut(memory):
    parameters = list(memory.parameters())
    if not parameters:
        pytest.skip("no parameters")
    x, first = chunk(3)
    gradients = []
    for cuts in ([], range(1, len(x))):
        y, _ = unrolled(memory, x, memory.initial_state(3), first, cuts)
        weight = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
        gradients.append(torch.autograd.grad((y * weight).sum(), parameters))
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def test_what_an_lstm_keeps_for_long_it_adds_to_little_at_a_time():
    # Tallec & Ollivier 2018: input biases are minus the forget biases, which are log U(1, 31).
    enter, forget, cell, show = LSTM(3, LSTMConfig(hidden=1000)).bias.detach().chunk(4)
    torch.testing.assert_close(enter, -forget)
    kept = 1 + forget.exp()  # steps
    assert kept.min() >= 2 and kept.max() <= 32 and 15 < kept.mean() < 18
    assert not cell.any() and not show.any()


def test_numpy_step_equals_torch(memory):
    step = find_twin(memory)
    if step is None:
        pytest.skip("no twin")
    x, first = chunk(3)
    y, end = memory(x, memory.initial_state(3), first)
    state = memory.initial_state(3).numpy()
    for t in range(len(x)):
        output, state = step(x[t].numpy(), state, first[t].numpy())
        np.testing.assert_allclose(output, y[t].detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(state, end.detach().numpy(), atol=1e-5)


def test_numpy_step_sees_new_weights(memory):
    step = find_twin(memory)
    if step is None or not list(memory.parameters()):
        pytest.skip("nothing to follow")
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.mul_(0.5)
    x, first = chunk(2, length=1)
    expected, _ = memory(x, memory.initial_state(2), first)
    output, _ = step(x[0].numpy(), memory.initial_state(2).numpy(), first[0].numpy())
    np.testing.assert_allclose(output, expected[0].detach().numpy(), atol=1e-6)


def test_a_window_ends():
    """What lies layers * (window - 1) steps back or less is seen, what lies further is not."""
    torch.manual_seed(0)
    memory = Transformer(5, TransformerConfig(size=8, heads=2, window=4, hidden=8, layers=2))
    x, first = chunk(1, share=0.0)
    y, _ = memory(x, memory.initial_state(1), first)
    for back, seen in ((6, True), (7, False)):
        other = x.clone()
        other[-1 - back] += 10.0
        z, _ = memory(other, memory.initial_state(1), first)
        assert bool((z[-1] != y[-1]).any()) == seen


def test_heads_must_share_the_width():
    with pytest.raises(ValueError, match="heads: must divide size 64, got 5"):
        TransformerConfig(heads=5)


@pytest.mark.parametrize("gated", [False, True])
def test_a_long_rollout_goes_piece_by_piece_with_the_same_outputs(gated, monkeypatch):
    """Episodes begin inside pieces of 16 steps, at their first and at their last one."""
    torch.manual_seed(0)
    memory = Transformer(5, TransformerConfig(size=8, heads=2, window=6, hidden=8, gated=gated)).double()
    x, first = torch.randn(53, 3, 5, dtype=torch.double), torch.zeros(53, 3, dtype=torch.bool)
    first[[16, 15, 40], [0, 1, 2]] = True
    first[[32, 47, 20], [0, 1, 2]] = True
    _, state = memory(x[:9], memory.initial_state(3), first[:9])
    results = []
    for piece in (10**6, 16):
        monkeypatch.setattr(transformer, "PIECE", piece)
        y, after = memory(x, state.detach(), first)
        gradients = torch.autograd.grad(y.square().sum(), list(memory.parameters()))
        results.append((y, after, *gradients))
    for whole, pieces in zip(*results, strict=True):
        torch.testing.assert_close(pieces, whole, rtol=1e-9, atol=1e-9)


def test_attention_grows_with_the_length_of_a_rollout(monkeypatch):
    """Each of 128 steps looks at those of its piece and 31 before it, in 4 heads of 2 blocks for 2 environments."""
    memory, pairs = Transformer(5, TransformerConfig()), []
    attend = torch.nn.functional.scaled_dot_product_attention

    def counted(*arguments, attn_mask):
        pairs.append(attn_mask.numel())
        return attend(*arguments, attn_mask=attn_mask)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    for length in (512, 1024):
        pairs.clear()
        first = torch.zeros(length, 2, dtype=torch.bool)
        memory(torch.randn(length, 2, 5), memory.initial_state(2), first)
        assert sum(pairs) == length * (31 + 128) * 4 * 2 * 2
