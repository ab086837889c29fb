"""A whole optimiser step (loss, gradients, clipping, Adam) as one compiled function.

Measured with torch 2.13 on a CPU; the tests compile with whatever version is installed. Two things here depend on how
torch compiles and are not promised by its documentation: the guards that are left out (`compile_step`) and how what was
compiled is found again (`functional_step`). Whoever raises torch's upper limit in pyproject.toml runs the slow tests of
`tests/networks/test_optimizer.py`. Without a compiler, or without these options, the optimiser goes on uncompiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

# (loss, metrics) of a batch, computed with the modules that the optimiser holds.
LossFunction = Callable[..., tuple[Tensor, dict[str, Tensor]]]
# (vector, gradient, mean, square, scales) -> norm of the gradient; updates vector, mean and square in place.
Update = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
# (vector, mean, square, scales, batch) -> metrics; updates the first three in place.
Step = Callable[[Tensor, Tensor, Tensor, Tensor, tuple[Any, ...]], dict[str, Tensor]]


def functional_step(modules: nn.Module, loss: LossFunction, update: Update) -> Step:
    """Return the step as a function of the vector, so that the compiler takes gradients and update as one graph."""
    holder = _Loss(modules, loss)
    shapes = [(name, parameter.shape) for name, parameter in holder.named_parameters()]

    def loss_of_vector(vector: Tensor, batch: tuple[Any, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        parts = vector.split([shape.numel() for _, shape in shapes])
        parameters = {name: part.view(shape) for (name, shape), part in zip(shapes, parts, strict=True)}
        # A module that is held under two names (a shared torso) is one object: setting its parameters once is
        # enough, and setting them under both names would leave those of the trace behind.
        return functional_call(holder, parameters, batch, tie_weights=False)

    def step(
        vector: Tensor, mean: Tensor, square: Tensor, scales: Tensor, batch: tuple[Any, ...]
    ) -> dict[str, Tensor]:
        gradient, metrics = grad(loss_of_vector, has_aux=True)(vector, batch)
        return metrics | {"gradient_norm": update(vector, gradient, mean, square, scales)}

    # What was compiled is found again by the code object alone, now that only tensors are checked: without one
    # of its own, this step would run another agent's, with that agent's loss and hyper-parameters.
    step.__code__ = step.__code__.replace()
    return step


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
            self.compiled[name] = _compiled(self._functional(loss, update))
        shared, others = self.compiled[name], self.others[index]
        return lambda vector, mean, square, scales, batch: shared(vector, mean, square, scales, others, batch)

    def _functional(self, loss: LossFunction, update: Update) -> Callable[..., dict[str, Tensor]]:
        holder = _Loss(self.everything[0], loss)
        shapes = self.names[0]

        def loss_of_vector(
            vector: Tensor, others: dict[str, Tensor], batch: tuple[Any, ...]
        ) -> tuple[Tensor, dict[str, Tensor]]:
            parts = vector.split([shape.numel() for shape in shapes.values()])
            own = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
            given = {f"held.{name}": tensor for name, tensor in (own | others).items()}
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

        step.__code__ = step.__code__.replace()
        return step


def _names(everything: nn.Module, modules: nn.Module) -> dict[str, torch.Size]:
    """Names in `everything` of the parameters of `modules`, in their order, and their shapes."""
    known = {id(parameter): name for name, parameter in everything.named_parameters()}
    return {known[id(parameter)]: parameter.shape for parameter in modules.parameters()}


def compile_step(step: Step) -> Step:
    """Compile a step, which happens in its first call.

    Modules and configs do not change while they train, so each call need only check the tensors: checking everything
    costs 60 us.
    """
    return _compiled(step)


def _compiled(function: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    # Asked for here and not once for all: a torch without it goes on uncompiled.
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe}
    return torch.compile(function, dynamic=False, options=options)


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
