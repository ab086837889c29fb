"""A whole optimiser step (loss, gradients, clipping, Adam) as one compiled function.

The step is traced once for tensors of given shapes (`make_fx`), and TorchInductor compiles what was traced. Against
`torch.compile`, which looks at the program again in every call, a step of PPO (256 samples, two 64-64 networks, one
core, torch 2.13) takes 289 us instead of 400.

Neither of torch's two functions is promised to stay as it is. Whoever raises torch's upper limit in pyproject.toml
runs the slow tests of `tests/networks/test_optimizer.py`. Without a compiler, or where a loss cannot be traced, the
optimiser goes on uncompiled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.fx import GraphModule

# (loss, metrics) of a batch, computed with the modules that the optimiser holds.
LossFunction = Callable[..., tuple[Tensor, dict[str, Tensor]]]
# (vector, gradient, mean, square, scales) -> norm of the gradient; updates vector, mean and square in place.
Update = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
# (vector, mean, square, scales, batch) -> metrics; updates the first three in place.
Step = Callable[[Tensor, Tensor, Tensor, Tensor, tuple[Any, ...]], dict[str, Tensor]]

_tracing = threading.Lock()


class NotCompiledError(Exception):
    """There is no compiler, or it has failed; the message is a line for the user."""


def functional_step(modules: nn.Module, loss: LossFunction, update: Update) -> Step:
    """Return the step as a function of the vector, so that the compiler takes gradients and update as one graph."""
    shapes = {name: parameter.shape for name, parameter in modules.named_parameters()}
    step = _step(modules, shapes, loss, update)
    return lambda vector, mean, square, scales, batch: step(vector, mean, square, scales, {}, batch)


class SharedSteps:
    """Compiled steps of agents that differ in their numbers only: one is compiled, and serves them all.

    Everything that the loss may read of an agent, its other networks and statistics too, comes in as an argument.
    """

    def __init__(self, modules: Sequence[nn.Module], everything: Sequence[nn.Module]):
        """Args:
        modules: what the optimiser of each agent holds.
        everything: what holds all networks of each agent, those among them.
        """
        self.names = [_names(all_of, own) for all_of, own in zip(everything, modules, strict=True)]
        self.everything = everything
        self.others = [
            {
                name: tensor
                for name, tensor in (*all_of.named_parameters(), *all_of.named_buffers())
                if name not in self.names[index]
            }
            for index, all_of in enumerate(everything)
        ]
        self.compiled: dict[str, Callable[..., dict[str, Tensor]]] = {}

    def step_of(self, index: int, name: str, loss: LossFunction, update: Update) -> Step:
        """The step of one agent; the first one's `loss`, of that `name`, and `update` serve all."""
        if name not in self.compiled:
            self.compiled[name] = compile_step(_step(self.everything[0], self.names[0], loss, update))
        shared, others = self.compiled[name], self.others[index]
        return lambda vector, mean, square, scales, batch: shared(vector, mean, square, scales, others, batch)


def _step(
    modules: nn.Module, shapes: dict[str, torch.Size], loss: LossFunction, update: Update
) -> Callable[..., dict[str, Tensor]]:
    """Return a step that takes all that `loss` reads of `modules` from its arguments.

    Args:
        modules: what the loss reads.
        shapes: names and shapes of those of its parameters that make the vector up, in their order.
    """
    holder = _Loss(modules, loss)

    def loss_of_vector(
        vector: Tensor, others: dict[str, Tensor], batch: tuple[Any, ...]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        parts = vector.split([shape.numel() for shape in shapes.values()])
        own = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        given = {f"held.{name}": tensor for name, tensor in (own | others).items()}
        # A module that is held under two names (a shared torso) is one object: setting its parameters once is
        # enough, and setting them under both names would leave those of the trace behind.
        return functional_call(holder, given, batch, tie_weights=False)

    def step(
        vector: Tensor,
        mean: Tensor,
        square: Tensor,
        scales: Tensor,
        others: dict[str, Tensor],
        batch: tuple[Any, ...],
    ) -> dict[str, Tensor]:
        gradient, metrics = grad(loss_of_vector, has_aux=True)(vector, others, batch)
        return metrics | {"gradient_norm": update(vector, gradient, mean, square, scales)}

    return step


def _names(everything: nn.Module, modules: nn.Module) -> dict[str, torch.Size]:
    """Names in `everything` of the parameters of `modules`, in their order, and their shapes."""
    known = {id(parameter): name for name, parameter in everything.named_parameters()}
    return {known[id(parameter)]: parameter.shape for parameter in modules.parameters()}


def compile_step(step: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """Compile a step, which happens in its first call with tensors of their shapes.

    Where that fails, the call raises `NotCompiledError`, and all tensors are what they were.

    What it reads besides its arguments has to stay where it is: tensors are read anew in each call, numbers are not.
    """
    compiled: dict[tuple[Any, ...], Callable[[list[Tensor]], dict[str, Tensor]]] = {}

    def call(*arguments: Any) -> dict[str, Tensor]:
        tensors: list[Tensor] = []
        key: list[Any] = []
        _flatten(arguments, tensors, key)
        shapes = tuple(key)
        if shapes in compiled:
            return compiled[shapes](tensors)
        before = [x.clone() for x in tensors]
        try:
            function = _compiled(step, arguments, tensors)
            metrics = function(tensors)
        except Exception as error:  # compilers fail in many ways
            for x, value in zip(tensors, before, strict=True):
                if not torch.equal(x, value):
                    x.copy_(value)
            raise NotCompiledError(not_compiled(error)) from error
        compiled[shapes] = function
        return metrics

    return call


def _compiled(
    step: Callable[..., dict[str, Tensor]], arguments: tuple[Any, ...], tensors: list[Tensor]
) -> Callable[[list[Tensor]], dict[str, Tensor]]:
    """Trace a step, and compile what was traced as a function of the tensors in its arguments."""
    # Tracers and compilers take a second to import, and most programs never compile.
    import torch._inductor
    from torch.fx.experimental.proxy_tensor import make_fx

    from .skinny_products import SkinnyProducts

    names: list[str] = []

    def of_tensors(*given: Tensor) -> tuple[Tensor, ...]:
        metrics = step(*_filled(arguments, iter(given)))
        names[:] = metrics
        return tuple(metrics.values())

    options: dict[str, Any] = {}
    if tensors[0].is_cpu:
        # In C++ what calls the kernels takes half the time.
        options = {"post_grad_custom_pre_pass": SkinnyProducts(), "cpp_wrapper": True}
    # Tracing changes functions of torch's while it lasts: one thread at a time.
    with _tracing, torch.no_grad():
        graph = make_fx(of_tensors, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
        held = _held_as_inputs(graph)
        function = torch._inductor.compile(graph, [*tensors, *held], options)

    def call(given: list[Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            return dict(zip(names, function(*given, *held), strict=True))

    return call


def _held_as_inputs(graph: GraphModule) -> list[Tensor]:
    """Turn tensors that a graph holds into inputs behind its own, and return them: a compiler takes the held ones for
    constants, and statistics or target networks are not.
    """
    held: list[Tensor] = []
    last = [node for node in graph.graph.nodes if node.op == "placeholder"][-1]
    for node in [node for node in graph.graph.nodes if node.op == "get_attr"]:
        tensor = getattr(graph, node.target)
        with graph.graph.inserting_after(last):
            last = graph.graph.placeholder(f"held_{len(held)}")
        last.meta = dict(node.meta)
        node.replace_all_uses_with(last)
        graph.graph.erase_node(node)
        held.append(tensor.detach())
    graph.recompile()
    return held


def _flatten(tree: Any, tensors: list[Tensor], key: list[Any]) -> None:
    """Append the tensors of nested tuples, lists and dicts, and to `key` all that a traced step depends on.

    One pass, because it is taken in every step.
    """
    if isinstance(tree, Tensor):
        tensors.append(tree)
        key += (tree.shape, tree.stride(), tree.dtype)
    elif isinstance(tree, tuple | list):
        for part in tree:
            _flatten(part, tensors, key)
    elif isinstance(tree, dict):
        for part in tree.values():
            _flatten(part, tensors, key)
    else:
        key.append(tree)


def _filled(tree: Any, tensors: Iterator[Tensor]) -> Any:
    """Return a tree with other tensors in place of its own, in the order of `_flatten`."""
    if isinstance(tree, Tensor):
        return next(tensors)
    if isinstance(tree, tuple | list):
        parts = [_filled(part, tensors) for part in tree]
        # The others are NamedTuples.
        return type(tree)(parts) if type(tree) in (tuple, list) else type(tree)(*parts)
    if isinstance(tree, dict):
        return {name: _filled(part, tensors) for name, part in tree.items()}
    return tree


def not_compiled(error: Exception) -> str:
    """One line on why updates are not compiled."""
    lines = str(error).split("\n")
    return f"updates are not compiled, which is slower: {type(error).__name__}: {lines[0][:200]}"


class _Loss(nn.Module):
    """Makes a loss function that closes over modules callable with other parameters for them."""

    def __init__(self, modules: nn.Module, loss: LossFunction):
        super().__init__()
        self.held = modules
        self.loss = loss

    def forward(self, *batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(*batch)
