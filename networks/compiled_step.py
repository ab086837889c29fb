"""A whole optimiser step (loss, gradients, clipping, Adam) as one compiled function.

Measured with torch 2.13 on a CPU; the tests compile with whatever version is installed. Two things here depend on how
torch compiles and are not promised by its documentation: the guards that are left out (`compile_step`) and how what was
compiled is found again (`functional_step`). Whoever raises torch's upper limit in pyproject.toml runs the slow tests of
`tests/networks/test_optimizer.py`. Without a compiler, or without these options, the optimiser goes on uncompiled.
"""

from __future__ import annotations

from collections.abc import Callable
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


def compile_step(step: Step) -> Step:
    """Compile a step, which happens in its first call.

    Modules and configs do not change while they train, so each call need only check the tensors: checking everything
    costs 60 us.
    """
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe}
    return torch.compile(step, dynamic=False, options=options)


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
