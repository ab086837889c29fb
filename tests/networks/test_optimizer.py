import copy

import pytest
import torch
from torch import nn

from palaestra.networks.compiled.step import functional_step
from palaestra.networks.optimizer import FlatAdam, flatten_parameters


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def network() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "body": nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)),
            "scale": nn.Linear(3, 1, bias=False),
        }
    )


def copy_of(modules: nn.Module) -> nn.Module:
    twin = network()
    twin.load_state_dict(modules.state_dict())
    return twin


def loss_of(modules: nn.Module):
    def loss(x, target):
        error = (modules["scale"](modules["body"](x)).squeeze(-1) - target).square()
        return error.mean(), {"loss/error": error.mean(), "batch/size": torch.tensor(float(len(x)))}

    return loss


def batches(count: int):
    # Large targets make long gradients, small ones short: both sides of the clip.
    return [(torch.randn(16, 4), torch.randn(16) * (100.0 if i % 3 else 0.1)) for i in range(count)]


def follow_torch(compile: bool, max_grad_norm: float | None, epsilon: float, betas=(0.9, 0.999)) -> None:
    """Twenty steps, with a learning rate that changes, beside torch's own Adam and clipping."""
    ours = network()
    theirs = copy_of(ours)
    optimizer = FlatAdam(ours, epsilon=epsilon, betas=betas, max_grad_norm=max_grad_norm, compile=compile)
    reference = torch.optim.Adam(theirs.parameters(), lr=0.0, eps=epsilon, betas=betas)
    our_loss, their_loss = loss_of(ours), loss_of(theirs)
    for i, batch in enumerate(batches(20)):
        rate = 1e-2 * (1 - i / 20)
        metrics = optimizer.step(our_loss, batch, rate)
        reference.zero_grad()
        value, _ = their_loss(*batch)
        value.backward()
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), max_grad_norm or float("inf"))
        reference.param_groups[0]["lr"] = rate
        reference.step()
        assert metrics["loss/error"].item() == pytest.approx(value.item(), rel=1e-4)
        assert metrics["gradient_norm"].item() == pytest.approx(norm.item(), rel=1e-4)
        for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=1e-6)
    assert int(optimizer.count) == 20


@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
@pytest.mark.parametrize(("epsilon", "betas"), [(1e-8, (0.9, 0.999)), (1e-5, (0.5, 0.9))])
def test_equals_torch_adam_with_clipping(max_grad_norm, epsilon, betas):
    follow_torch(False, max_grad_norm, epsilon, betas)


def test_traced_step_equals_torch_adam_with_clipping(traced_steps):
    follow_torch(True, 0.5, 1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_step_equals_torch_adam_with_clipping():
    follow_torch(True, 0.5, 1e-5)


def test_compiled_steps_of_two_optimizers_are_not_mixed_up(traced_steps):
    layers = [nn.Linear(3, 1), nn.Linear(3, 1)]
    up, down = (FlatAdam(layer, compile=True) for layer in layers)
    batch = (torch.randn(4, 3),)
    for _ in range(2):
        rising = up.step(lambda x: (layers[0](x).mean(), {"sign": torch.tensor(1.0)}), batch, 0.1)
        falling = down.step(lambda x: (-layers[1](x).mean(), {"sign": torch.tensor(-1.0)}), batch, 0.1)
    assert rising["sign"] == 1 and falling["sign"] == -1


def test_what_a_loss_reads_from_elsewhere_is_read_anew_in_every_step(traced_steps):
    """Statistics of observations and target networks change between steps."""
    layer, elsewhere = nn.Linear(3, 1), torch.zeros(3)
    optimizer = FlatAdam(layer, compile=True)

    def loss(x):
        return layer(x).mean(), {"seen": (x + elsewhere).sum()}

    x = torch.ones(2, 3)
    assert optimizer.step(loss, (x,), 0.1)["seen"] == 6
    elsewhere.fill_(1.0)
    assert optimizer.step(loss, (x,), 0.1)["seen"] == 12


def test_batches_of_other_shapes_and_nests_are_traced_anew(traced_steps):
    layer = nn.Linear(3, 1)
    optimizer = FlatAdam(layer, compile=True)

    def loss(obs, weight):
        values = torch.cat([layer(part) for part in obs["parts"]])
        total = values.sum() if weight is None else (weight * values).sum()
        return total, {"rows": torch.tensor(float(len(values)))}

    for rows in (2, 5, 2):
        parts = (torch.ones(rows, 3), torch.ones(1, 3))
        assert optimizer.step(loss, ({"parts": parts}, None), 0.1)["rows"] == rows + 1
        assert optimizer.step(loss, ({"parts": parts}, torch.ones(rows + 1, 1)), 0.1)["rows"] == rows + 1
    assert optimizer.compile


def no_compiler(graph, inputs, options):
    def fail(vector, *rest):
        vector.zero_()  # whatever it had begun is undone
        raise RuntimeError("No working C++ compiler found\nin a long search")

    return fail


@pytest.mark.parametrize("missing", ["compiler", "function"])
def test_without_a_compiler_steps_go_on_and_are_the_same(monkeypatch, missing):
    if missing == "compiler":
        monkeypatch.setattr(torch._inductor, "compile", no_compiler)
    else:
        monkeypatch.delattr(torch._inductor, "compile")
    eager, falling_back = network(), network()
    falling_back.load_state_dict(eager.state_dict())
    theirs = FlatAdam(eager, max_grad_norm=0.5)
    ours = FlatAdam(falling_back, max_grad_norm=0.5, compile=True)
    for i, batch in enumerate(batches(5)):
        expected = theirs.step(loss_of(eager), batch, 1e-2)
        if i == 0:
            with pytest.warns(RuntimeWarning, match=r"^updates are not compiled, which is slower: \w+: .*$"):
                metrics = ours.step(loss_of(falling_back), batch, 1e-2)
        else:
            metrics = ours.step(loss_of(falling_back), batch, 1e-2)
        assert metrics == expected
    assert torch.equal(theirs.vector, ours.vector) and ours.count == 5
    assert torch.equal(theirs.mean, ours.mean) and torch.equal(theirs.square, ours.square)


def test_a_compiler_that_fails_for_a_later_shape_does_not_end_the_run(monkeypatch):
    """The last minibatch may be smaller, and the disk full by then."""
    compiled = []

    def once(graph, inputs, options):
        if compiled:
            raise RuntimeError("No space left on device")
        compiled.append(graph)
        return graph

    monkeypatch.setattr(torch._inductor, "compile", once)
    plain, module = network(), network()
    module.load_state_dict(plain.state_dict())
    theirs, ours = FlatAdam(plain), FlatAdam(module, compile=True)
    loss, same = loss_of(plain), loss_of(module)
    (batch,) = batches(1)
    for part in (batch, tuple(x[:3] for x in batch)):
        theirs.step(loss, part, 1e-2)
    ours.step(same, batch, 1e-2)
    with pytest.warns(
        RuntimeWarning, match="^updates are not compiled, .*: RuntimeError: No space left on device$"
    ):
        ours.step(same, tuple(x[:3] for x in batch), 1e-2)
    assert compiled and not ours.compile and ours.count == 2
    torch.testing.assert_close(ours.vector, theirs.vector)


def test_first_step_by_hand():
    """After one step the moments' corrections cancel: every parameter moves by rate * g / (|g| + epsilon)."""
    layer = nn.Linear(2, 1, bias=False)
    before = layer.weight.detach().clone()
    optimizer = FlatAdam(layer, epsilon=0.5)

    def loss(x):
        value = layer(x).sum()
        return value, {}

    metrics = optimizer.step(loss, (torch.tensor([3.0, -4.0]),), 0.1)
    assert metrics["gradient_norm"].item() == pytest.approx(5.0)
    expected = torch.tensor([[-0.1 * 3 / 3.5, 0.1 * 4 / 4.5]])
    torch.testing.assert_close(layer.weight.detach() - before, expected, rtol=1e-4, atol=0)


def test_flattened_parameters_are_views():
    modules = network()
    values = [parameter.detach().clone() for parameter in modules.parameters()]
    vector, gradient = flatten_parameters(modules)
    assert vector.numel() == gradient.numel() == sum(value.numel() for value in values)
    for parameter, value in zip(modules.parameters(), values, strict=True):
        assert torch.equal(parameter, value)
    vector.zero_()
    gradient.fill_(2.0)
    assert all((parameter == 0).all() and (parameter.grad == 2).all() for parameter in modules.parameters())


def test_loading_weights_keeps_the_views():
    modules = network()
    optimizer = FlatAdam(modules)
    modules.load_state_dict(network().state_dict())
    flat = torch.cat([parameter.detach().flatten() for parameter in modules.parameters()])
    assert torch.equal(optimizer.vector, flat)


def test_a_module_used_by_two_heads_appears_once():
    body = nn.Linear(2, 2)
    vector, _ = flatten_parameters(nn.ModuleDict({"policy": body, "value": body}))
    assert vector.numel() == 6


def test_the_functional_step_leaves_a_module_with_two_names_as_it_was():
    """What is compiled runs on other tensors in place of the parameters; none of them may stay behind."""
    body = nn.Linear(2, 1)
    modules = nn.ModuleDict({"policy": body, "value": body})
    optimizer, weight = FlatAdam(modules), body.weight
    step = functional_step(modules, lambda x: (body(x).sum(), {}), optimizer.apply)
    step(optimizer.vector, optimizer.mean, optimizer.square, torch.tensor([0.1, 1.0]), (torch.ones(3, 2),))
    assert body.weight is weight and modules["value"].weight is weight


def test_parameters_without_gradient_stay():
    modules = network()
    optimizer = FlatAdam(modules)
    before = modules["scale"].weight.detach().clone()
    for _ in range(3):
        optimizer.step(lambda x: (modules["body"](x).sum(), {}), (torch.randn(5, 4),), 0.1)
    assert torch.equal(modules["scale"].weight, before)


@pytest.mark.parametrize(
    "compile",
    [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore")])],
)
def test_moments_without_a_gradient_vanish_and_nothing_else_does(compile):
    """They would stay at a few units in the last place for ever, where arithmetic is slow."""
    layer = nn.Linear(3, 1, bias=False)
    optimizer = FlatAdam(layer, compile=compile)

    def loss(x):
        return layer(x).sum(), {}

    before = layer.weight.detach().clone()
    optimizer.step(loss, (torch.tensor([[1.0, 1e-6, 0.0]]),), 1e-3)
    for _ in range(999):
        optimizer.step(loss, (torch.tensor([[0.0, 1e-6, 0.0]]),), 1e-3)
    assert optimizer.mean[0] == 0 and optimizer.square[0].item() == pytest.approx(1e-3 * 0.999**999, rel=1e-3)
    assert optimizer.mean[1].item() == pytest.approx(1e-6, rel=1e-3)
    assert optimizer.square[1].item() == pytest.approx(1e-12 * (1 - 0.999**1000), rel=1e-3)
    moved = (layer.weight - before)[0].tolist()
    assert moved[1] == pytest.approx(-1000 * 1e-3 * 1e-6 / (1e-6 + 1e-8), rel=1e-2) and moved[2] == 0
    optimizer.square[0] = 1e-33
    for _ in range(999):
        optimizer.step(loss, (torch.tensor([[0.0, 1e-6, float("nan")]]),), 1e-3)
    assert optimizer.square[0] == 0 and optimizer.mean[2].isnan()


def test_state_goes_on_exactly():
    left = network()
    ours = FlatAdam(left, max_grad_norm=0.5)
    first, second = batches(8)[:4], batches(8)[4:]
    for batch in first:
        ours.step(loss_of(left), batch, 1e-2)
    right = network()
    theirs = FlatAdam(right, max_grad_norm=0.5)
    right.load_state_dict(left.state_dict())
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    for batch in second:
        ours.step(loss_of(left), batch, 1e-2)
        theirs.step(loss_of(right), batch, 1e-2)
    assert torch.equal(ours.vector, theirs.vector) and theirs.count == 8
