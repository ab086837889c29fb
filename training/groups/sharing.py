"""Compiling once for all: agents that differ in their seeds run the same compiled steps on tensors of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...networks.compiled.step import LossFunction, SharedSteps, Step
from ...networks.normalize import RewardScaler
from ...networks.optimizer import FlatAdam


def share_compiled_steps(agents: Sequence[Any]) -> None:
    """Let all agents use the steps that are compiled for the first one."""
    everything = [all_modules(agent) for agent in agents]
    names = [name for name, value in vars(agents[0]).items() if isinstance(value, FlatAdam)]
    for name in names:
        optimizers: list[FlatAdam] = [getattr(agent, name) for agent in agents]
        shared = SharedSteps([optimizer.modules for optimizer in optimizers], everything)
        for index, optimizer in enumerate(optimizers):

            def make_step(
                loss: LossFunction, index: int = index, shared: SharedSteps = shared, name: str = name
            ) -> Step:
                method: str = loss.__name__
                first = agents[0]
                return shared.step_of(index, method, getattr(first, method), getattr(first, name).apply)

            optimizer.make_step = make_step


def all_modules(agent: Any) -> nn.Module:
    """Every network that an agent holds; what scales its rewards is not seen by a loss, and changes its shape."""
    found = {id(value): value for value in vars(agent).values() if isinstance(value, nn.Module)}
    return nn.ModuleList(module for module in found.values() if not isinstance(module, RewardScaler))
