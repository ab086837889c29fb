"""Adam over one flat vector: clipping, moments and the step are single operations, and a step can be compiled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

# (loss, metrics) of a batch, computed with the modules that the optimiser holds.
Network = TypeVar("Network", bound=nn.Module)
LossFunction = Callable[..., tuple[Tensor, dict[str, Tensor]]]


class Paced:
    """Mixin of modules some of whose parameters take smaller or larger steps than the optimiser's learning rate."""

    def paces(self) -> Mapping[nn.Parameter, float]:
        """Return factors of the learning rate, by parameter."""
        raise NotImplementedError


class FlatAdam:
    """Adam (Kingma & Ba 2015) for all parameters of some modules, laid out as views of one vector.

    `step` runs loss, gradients, clipping and Adam. With `compile`, all of that is one compiled function, chosen by
    loss function; batches must then keep their shapes. Parameters are updated in place, so NumPy views of them
    stay right.
    """

    def __init__(
        self,
        modules: nn.Module,
        *,
        epsilon: float = 1e-8,
        betas: tuple[float, float] = (0.9, 0.999),
        max_grad_norm: float | None = None,
        compile: bool = False,
    ):
        self.modules = modules
        self.epsilon = epsilon
        self.betas = betas
        self.max_grad_norm = max_grad_norm
        self.compile = compile
        self.vector, self.gradient = flatten_parameters(modules)
        self.mean = torch.zeros_like(self.vector)
        self.square = torch.zeros_like(self.vector)
        self.count = 0
        self.pace = pace_vector(modules)
        self._compiled: dict[Any, Callable[..., dict[str, Tensor]]] = {}

    def step(self, loss: LossFunction, batch: tuple[Any, ...], learning_rate: float) -> dict[str, Tensor]:
        """Take one step down the gradient of `loss(*batch)`; returns its metrics and `gradient_norm`."""
        scales = self._count_step(learning_rate)
        if self.compile:
            if loss not in self._compiled:
                # Modules and configs do not change while they train, so each call need only check the tensors:
                # checking everything costs 60 us.
                self._compiled[loss] = torch.compile(
                    self._make_functional_step(loss),
                    dynamic=False,
                    options={"guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe},
                )
            return self._compiled[loss](self.vector, self.mean, self.square, scales, batch)
        self.gradient.zero_()
        value, metrics = loss(*batch)
        value.backward()
        with torch.no_grad():
            norm = self.apply(self.vector, self.gradient, self.mean, self.square, scales)
        return {name: metric.detach() for name, metric in metrics.items()} | {"gradient_norm": norm}

    def _count_step(self, learning_rate: float) -> Tensor:
        """Step size and factor of the deviation `[2]`, both corrected for the moments' start at zero.

        Computed out here because the compiled loop over the parameters would raise to a power in every turn.
        """
        self.count += 1
        first, second = (1 - beta**self.count for beta in self.betas)
        # By way of NumPy, which takes a quarter of the time.
        scales = np.array([learning_rate / first, second**-0.5], np.float32)
        return torch.from_numpy(scales).to(self.vector.device)

    def apply(self, vector: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, scales: Tensor) -> Tensor:
        """Clip the gradient and update vector and moments in place; returns the norm before clipping."""
        norm = gradient.norm()
        if self.max_grad_norm is not None:
            gradient = gradient * (self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        beta1, beta2 = self.betas
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        denominator = square.sqrt().mul_(scales[1]).add_(self.epsilon)
        step = mean / denominator * scales[0]
        vector.sub_(step if self.pace is None else step * self.pace)
        return norm

    def _make_functional_step(self, loss: LossFunction) -> Callable[..., dict[str, Tensor]]:
        """Return the step as a function of the vector, so that the compiler sees gradients and update as one graph."""
        holder = _Loss(self.modules, loss)
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
            return metrics | {"gradient_norm": self.apply(vector, gradient, mean, square, scales)}

        # What was compiled is found again by the code object alone, now that only tensors are checked: without one
        # of its own, this step would run another agent's, with that agent's loss and hyper-parameters.
        step.__code__ = step.__code__.replace()
        return step

    def state_dict(self) -> dict[str, Any]:
        """Moments and step count; the parameters belong to the modules."""
        return {"mean": self.mean, "square": self.square, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore in place what `state_dict` gave."""
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])
        self.count = int(state["count"])


class _Loss(nn.Module):
    """Makes a loss function that closes over modules callable with other parameters for them."""

    def __init__(self, modules: nn.Module, loss: LossFunction):
        super().__init__()
        self.held = modules
        self.loss = loss

    def forward(self, *batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(*batch)


def flatten_parameters(modules: nn.Module) -> tuple[Tensor, Tensor]:
    """Move all parameters into one vector `[P]` and their gradients into another; both are returned.

    Afterwards every parameter is a view of the first, and every gradient a view of the second.
    """
    parameters = list(modules.parameters())
    vector = torch.cat([parameter.detach().flatten() for parameter in parameters])
    gradient = torch.zeros_like(vector)
    sizes = [parameter.numel() for parameter in parameters]
    pieces = zip(parameters, vector.split(sizes), gradient.split(sizes), strict=True)
    for parameter, values, gradients in pieces:
        parameter.data = values.view_as(parameter)
        parameter.grad = gradients.view_as(parameter)
    return vector, gradient


def pace_vector(modules: nn.Module) -> Tensor | None:
    """Factors of the learning rate, laid out like the parameters' vector `[P]`; None where all are 1."""
    paces: dict[nn.Parameter, float] = {}
    for module in modules.modules():
        if isinstance(module, Paced):
            paces.update(module.paces())
    if all(pace == 1 for pace in paces.values()):
        return None
    parameters = modules.parameters()
    return torch.cat([torch.full_like(p, paces.get(p, 1.0)).detach().flatten() for p in parameters])


def make_target(network: Network) -> tuple[Network, Tensor]:
    """Copy a network and lay out the copy's parameters as views of a vector `[P]`, which is returned too.

    The copy gets no gradients and shares the running statistics of observations.
    """
    target = copy.deepcopy(network, {id(buffer): buffer for buffer in network.buffers()})
    vector, _ = flatten_parameters(target)
    target.requires_grad_(False).zero_grad()
    return target, vector
