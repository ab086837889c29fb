"""One step of the optimiser in all processes: each takes a part of the batch, and gradients are added up."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...networks.compiled.step import LossFunction, NotCompiledError, compile_step, functional_step
from ...networks.optimizer import FlatAdam
from ...networks.tree import tree_map
from .team import Team

Function = Callable[..., dict[str, Tensor]]

# Steps of a minibatch times parameters. Below, every process takes the whole step by itself, with the same result:
# sharing it would save less than telling each other the gradients takes.
SHARED_FROM = 2**24
# The same where they go by gloo, which takes ten times as long.
SHARED_FROM_BY_GLOO = 2**26


class SharedStep:
    """Takes the larger steps of a `FlatAdam` (its `share`), equal to those of one process but for rounding.

    A loss is a mean over the steps of its batch that are `valid`, so the whole gradient is the mean of those of the
    parts, weighted by how many of these each holds. It is added up with the metrics in one go; clipping and Adam then
    are the same everywhere.
    """

    def __init__(self, team: Team):
        self.team = team
        self.shared_from = SHARED_FROM_BY_GLOO if team.neighbours is None else SHARED_FROM
        self.compiled: dict[Any, Function] = {}
        self.names: dict[LossFunction, list[str]] = {}

    def __call__(
        self, optimizer: FlatAdam, loss: LossFunction, batch: tuple[Any, ...], scales: Tensor
    ) -> dict[str, Tensor] | None:
        """Take one step; every process gives the same batch, and gets the same metrics. None where it is small."""
        whole, *common = batch
        if not self.shares(optimizer, whole):
            return None
        part, weight = part_of(whole, self.team.rank, self.team.size)
        values = self._weighted(optimizer, loss, (part, *common), scales, weight)
        self.team.add_up(values)
        gradient, means = values.split([len(optimizer.vector), len(values) - len(optimizer.vector)])
        metrics = dict(zip(self.names[loss], means.unbind(), strict=True))
        return metrics | self._apply(optimizer, gradient, scales)

    def shares(self, optimizer: FlatAdam, whole: Any) -> bool:
        """Whether the step with this batch is shared out."""
        # On a GPU not every sum is the same twice: there only what is added up is the same everywhere.
        return not optimizer.vector.is_cpu or whole.valid.numel() * len(optimizer.vector) >= self.shared_from

    def _weighted(
        self, optimizer: FlatAdam, loss: LossFunction, batch: tuple[Any, ...], scales: Tensor, weight: Tensor
    ) -> Tensor:
        """The gradient and the metrics, whose names are kept, times a weight, in one vector."""
        names = self.names.setdefault(loss, [])
        given = (optimizer.vector, optimizer.square, scales, weight, batch)
        compiled = self._compiled(optimizer, loss, lambda: weighted_gradient(optimizer, loss, names), given)
        if compiled is not None:
            return compiled["values"]
        optimizer.gradient.zero_()
        value, metrics = loss(*batch)
        (value * weight).backward()
        names[:] = metrics
        return torch.cat([optimizer.gradient, weight * torch.stack(list(metrics.values())).detach()])

    def _apply(self, optimizer: FlatAdam, gradient: Tensor, scales: Tensor) -> dict[str, Tensor]:
        """Clip the gradient and take the step, which is the same in every process."""

        def apply(*given: Tensor) -> dict[str, Tensor]:
            return {"gradient_norm": optimizer.apply(*given)}

        given = (optimizer.vector, gradient, optimizer.mean, optimizer.square, scales)
        compiled = self._compiled(optimizer, "apply", lambda: apply, given)
        if compiled is not None:
            return compiled
        with torch.no_grad():
            return apply(*given)

    def _compiled(
        self, optimizer: FlatAdam, key: Any, make: Callable[[], Function], given: tuple[Any, ...]
    ) -> dict[str, Tensor] | None:
        """What a function returns, compiled in its first call; None without a compiler."""
        if not optimizer.compile:
            return None
        if key not in self.compiled:
            self.compiled[key] = compile_step(make())
        try:
            return self.compiled[key](*given)
        except NotCompiledError as error:
            optimizer.compile = False
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
            return None


def weighted_gradient(optimizer: FlatAdam, loss: LossFunction, names: list[str]) -> Function:
    """What is to be compiled: gradient and metrics times a weight, in one vector; `names` become the metrics'."""
    gradients: list[Tensor] = []

    def weighted_loss(weight: Tensor, *batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        value, metrics = loss(*batch)
        return value * weight, metrics

    def keep(vector: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, scales: Tensor) -> Tensor:
        """In place of Adam's update: only keep the gradient."""
        gradients[:] = [gradient]
        return scales[0]

    step = functional_step(optimizer.modules, weighted_loss, keep)

    def weighted(
        vector: Tensor, square: Tensor, scales: Tensor, weight: Tensor, batch: tuple[Any, ...]
    ) -> dict[str, Tensor]:
        metrics = step(vector, square, square, scales, (weight, *batch))
        names[:] = [name for name in metrics if name != "gradient_norm"]
        means = torch.stack([metrics[name] for name in names])
        return {"values": torch.cat([gradients.pop(), means * weight])}

    return weighted


def part_of(whole: Any, rank: int, size: int) -> tuple[Any, Tensor]:
    """A process's part of a batch of windows `[L, N, ...]` or steps `[N, ...]`, and the part's weight in the mean.

    Where there are fewer windows than processes, some take the first one, with weight 0.
    """
    axis = whole.valid.ndim - 1
    count = whole.valid.shape[axis]
    start, stop = (rank * count // size, (rank + 1) * count // size)
    weight = 1.0 if stop > start else 0.0
    stop = max(stop, start + 1) if start < count else stop
    part = type(whole)(*tree_map(lambda x: x.narrow(axis, start, stop - start), tuple(whole)))
    return part, weight * part.valid.sum() / whole.valid.sum().clamp(min=1)
