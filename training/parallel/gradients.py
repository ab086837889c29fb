"""One step of the optimiser in all processes: each takes a part of the batch, and gradients are added up."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from ...networks.compiled.step import LossFunction, Step, compile_step, functional_step, not_compiled
from ...networks.optimizer import FlatAdam
from ...networks.tree import tree_map
from .team import Team

# Steps of a minibatch times parameters. Below, every process takes the whole step by itself, with the same result:
# sharing it would save less than telling each other the gradients takes.
SHARED_FROM = 2**24


class SharedStep:
    """Takes the larger steps of a `FlatAdam` (its `share`), equal to those of one process but for rounding.

    A loss is a mean over the steps of its batch that are `valid`, so the whole gradient is the mean of those of the
    parts, weighted by how many of these each holds. It is added up with the metrics in one go; clipping and Adam then
    are the same everywhere.
    """

    def __init__(self, team: Team):
        self.team = team
        self.compiled: dict[LossFunction, Step] = {}

    def __call__(
        self, optimizer: FlatAdam, loss: LossFunction, batch: tuple[Any, ...], scales: Tensor
    ) -> dict[str, Tensor] | None:
        """Take one step; every process gives the same batch, and gets the same metrics. None where it is small."""
        whole, *common = batch
        # On a GPU not every sum is the same twice: there only what is added up is the same everywhere.
        if optimizer.vector.is_cpu and whole.valid.numel() * len(optimizer.vector) < SHARED_FROM:
            return None
        part, weight = part_of(whole, self.team.rank, self.team.size)
        metrics = self._gradient(optimizer, loss, (part, *common), scales)
        values = torch.cat([optimizer.gradient, *(metric.detach().reshape(1) for metric in metrics.values())])
        values *= weight
        self.team.add_up(values)
        gradient, means = values.split([len(optimizer.gradient), len(metrics)])
        with torch.no_grad():
            norm = optimizer.apply(optimizer.vector, gradient, optimizer.mean, optimizer.square, scales)
        return dict(zip(metrics, means.unbind(), strict=True)) | {"gradient_norm": norm}

    def _gradient(
        self, optimizer: FlatAdam, loss: LossFunction, batch: tuple[Any, ...], scales: Tensor
    ) -> dict[str, Tensor]:
        """Leave the gradient in the optimiser's vector for it; returns the metrics."""
        if optimizer.compile:
            try:
                if loss not in self.compiled:
                    self.compiled[loss] = compile_step(functional_step(optimizer.modules, loss, keep))
                gradient, square = optimizer.gradient, optimizer.square
                metrics = self.compiled[loss](optimizer.vector, gradient, square, scales, batch)
                return {name: metric for name, metric in metrics.items() if name != "gradient_norm"}
            except Exception as error:  # compilers fail in many ways, and training need not
                optimizer.compile = False
                warnings.warn(not_compiled(error), RuntimeWarning, stacklevel=2)
        optimizer.gradient.zero_()
        value, metrics = loss(*batch)
        value.backward()
        return metrics


def keep(vector: Tensor, gradient: Tensor, kept: Tensor, square: Tensor, scales: Tensor) -> Tensor:
    """In place of Adam's update: only keep the gradient."""
    kept.copy_(gradient)
    return gradient.norm()


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
