"""Adam over one flat vector: clipping, moments and the step are single operations, and a step can be compiled."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import hardshrink

from .compiled.step import LossFunction, NotCompiledError, Step, compile_step, functional_step

Network = TypeVar("Network", bound=nn.Module)

# Smaller moments are zero; it is too small for any step that they make to be seen. Without gradients, those of units
# that are dead for instance, moments would decay to denormal numbers (below 2^-126), on which CPUs take many times as
# long, and stay there for good: 0.9 times 4 units in the last place are 4 again. Half of TD3's do in 30,000 steps.
VANISHING = 2.0**-110

# (optimiser, loss, batch, scales) -> metrics: one step, which other processes take, too; None where it is not shared.
Share = Callable[["FlatAdam", LossFunction, tuple[Any, ...], Tensor], dict[str, Tensor] | None]


class Paced:
    """Mixin of modules some of whose parameters take smaller or larger steps than the optimiser's learning rate."""

    def paces(self) -> Mapping[nn.Parameter, float]:
        """Return factors of the learning rate, by parameter."""
        raise NotImplementedError


class LearnsBeside(ABC):
    """Mixin of modules with a loss of their own: the optimiser that holds them follows each of its steps by one on it.

    That step has moments and a clipping of its own. Down the gradient of a sum, the larger of two losses would leave
    the other little: Adam divides both by the length of the sum, and so does clipping.
    """

    beside_pace: float = 1.0
    """The length of these steps, as a share of the learning rate."""

    @abstractmethod
    def draw(self) -> Any:
        """Tensors for the next step's loss, always of the same shapes; None while there is nothing to learn from.

        All randomness is here: `own_loss` may be compiled.
        """

    @abstractmethod
    def own_loss(self, drawn: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its metrics."""

    @abstractmethod
    def after_step(self) -> None:
        """Follow the parameters that a step has changed."""


class FlatAdam:
    """Adam (Kingma & Ba 2015) for all parameters of some modules, laid out as views of one vector.

    `step` runs loss, gradients, clipping and Adam; with modules that are `LearnsBeside`, a second time for theirs.
    With `compile`, all of that is one compiled function, for each loss function and the shapes of its batches
    (`compiled/step.py`). Where compiling fails, a warning says so and steps are taken without. Parameters are updated
    in place, so NumPy views of them stay right.
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
        self.make_step: Callable[[LossFunction], Step] = lambda loss: compile_step(
            functional_step(modules, loss, self.apply)
        )
        """Compiles the step for a loss; networks that are alike may share one (see `SharedSteps`)."""
        self._compiled: dict[Any, Step] = {}
        self.share: Share | None = None
        """Takes each step together with other processes; None where this one is alone."""
        self.beside = [module for module in modules.modules() if isinstance(module, LearnsBeside)]
        # The same parameters, with other moments: for the losses of modules that learn beside.
        self.aside: FlatAdam | None = None
        if self.beside:
            self.aside = copy.copy(self)
            self.aside.mean, self.aside.square = torch.zeros_like(self.vector), torch.zeros_like(self.vector)
            self.aside.beside, self.aside._compiled = [], {}

    def step(self, loss: LossFunction, batch: tuple[Any, ...], learning_rate: float) -> dict[str, Tensor]:
        """Take one step down the gradient of `loss(*batch)`; returns its metrics and `gradient_norm`."""
        metrics = self._step(loss, batch, learning_rate)
        if self.aside is None:
            return metrics
        drawn = [module.draw() for module in self.beside]
        if all(tensors is not None for tensors in drawn):
            pace = self.beside[0].beside_pace
            more = self.aside._step(self._losses_beside, (drawn,), pace * learning_rate)
            norms = {
                "auxiliary/gradient_norm": more["gradient_norm"],
                "gradient_norm": metrics["gradient_norm"],
            }
            metrics = metrics | more | norms
        for module in self.beside:
            module.after_step()
        return metrics

    def _losses_beside(self, drawn: list[Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the losses of modules that learn beside, and the means of their metrics."""
        results = [module.own_loss(tensors) for module, tensors in zip(self.beside, drawn, strict=True)]
        losses, metrics = zip(*results, strict=True)
        return torch.stack(losses).sum(), {
            name: torch.stack([each[name] for each in metrics]).mean() for name in metrics[0]
        }

    def _step(self, loss: LossFunction, batch: tuple[Any, ...], learning_rate: float) -> dict[str, Tensor]:
        scales = self._count_step(learning_rate)
        if self.share is not None and (shared := self.share(self, loss, batch, scales)) is not None:
            return shared
        if self.compile:
            metrics = self._compiled_step(loss, batch, scales)
            if metrics is not None:
                return metrics
        self.gradient.zero_()
        value, metrics = loss(*batch)
        value.backward()
        with torch.no_grad():
            norm = self.apply(self.vector, self.gradient, self.mean, self.square, scales)
        return {name: metric.detach() for name, metric in metrics.items()} | {"gradient_norm": norm}

    def _compiled_step(
        self, loss: LossFunction, batch: tuple[Any, ...], scales: Tensor
    ) -> dict[str, Tensor] | None:
        """The step as one compiled function; None, and nothing has changed, where it cannot be compiled."""
        if loss not in self._compiled:
            self._compiled[loss] = self.make_step(loss)
        try:
            return self._compiled[loss](self.vector, self.mean, self.square, scales, batch)
        except NotCompiledError as error:
            self.compile = False
            warnings.warn(str(error), RuntimeWarning, stacklevel=3)
            return None

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
        for moment in (mean, square):
            moment.copy_(hardshrink(moment, VANISHING))
        denominator = square.sqrt().mul_(scales[1]).add_(self.epsilon)
        step = mean / denominator * scales[0]
        vector.sub_(step if self.pace is None else step * self.pace)
        return norm

    def snapshot(self) -> tuple[Tensor, dict[str, Any]]:
        """A copy of parameters, moments and step count, for `take_back`."""
        return self.vector.clone(), copy.deepcopy(self.state_dict())

    def take_back(self, before: tuple[Tensor, dict[str, Any]]) -> None:
        """Undo what steps have done to the parameters, in place, since a `snapshot`."""
        self.vector.copy_(before[0])
        self.load_state_dict(before[1])

    def state_dict(self) -> dict[str, Any]:
        """Moments and step count; the parameters belong to the modules."""
        own = {"mean": self.mean, "square": self.square, "count": self.count}
        return own if self.aside is None else own | {"beside": self.aside.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore in place what `state_dict` gave."""
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])
        self.count = int(state["count"])
        # Runs of before had one set of moments for both losses.
        if self.aside is not None and "beside" in state:
            self.aside.load_state_dict(state["beside"])


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
