"""From what a head says to the action that the environment executes, on tensors; agents do it in NumPy."""

from __future__ import annotations

from typing import Any, TypeGuard, cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from ...networks.heads import (
    BernoulliHead,
    CategoricalHead,
    GaussianHead,
    MultiCategoricalHead,
    PolicyHead,
    ProductHead,
)
from ...networks.masks import ActionMask, masked
from ...networks.q_heads import JointActions, QHead, Stream
from ...networks.q_value import ActionBounds
from ...networks.vectors import from_leaves, leaf_observations, leaf_spaces
from .acting import ActingParts


def torch_type(dtype: Any) -> torch.dtype:
    """The type of tensors for one of arrays."""
    return torch.from_numpy(np.zeros(0, dtype)).dtype


class Choice(nn.Module):
    """`(features [B, size], mask [B, K] or None) -> action`, one tensor for each leaf of the action space.

    Actions are what the environment executes: in its units and types, and within its bounds. With `sampled` they are
    drawn from the policy, where it is a distribution; otherwise they are the best ones.
    """

    center: Tensor
    half_range: Tensor

    def __init__(self, parts: ActingParts, action_space: spaces.Space):
        super().__init__()
        self.head, self.space, self.sampled = parts.head, action_space, False
        self.actions = parts.actions
        self.allowed: ActionMask | None = None
        if isinstance(parts.head, PolicyHead):
            self.allowed = parts.head.allowed
        elif isinstance(parts.actions, JointActions):
            self.allowed = parts.actions.allowed
            for index, table in enumerate(parts.actions.table):
                self.register_buffer(f"table_{index}", torch.as_tensor(table))
        elif isinstance(parts.actions, ActionBounds):
            self.register_buffer("center", torch.as_tensor(parts.actions.center))
            self.register_buffer("half_range", torch.as_tensor(parts.actions.half_range))
        for index, leaf in enumerate(leaf_spaces(action_space)):
            if is_clipped(leaf):
                kind = np.float64 if leaf.dtype == np.float64 else np.float32
                for name, bound in (("low", leaf.low), ("high", leaf.high)):
                    self.register_buffer(f"{name}_{index}", torch.as_tensor(bound.astype(kind)))

    @property
    def is_distribution(self) -> bool:
        """Whether there is something to sample from."""
        return isinstance(self.head, PolicyHead)

    def scores(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """What the head says `[B, K]`: logits or means, values, or actions in [-1, 1]."""
        match self.head:
            case PolicyHead():
                return masked(self.head.layer(features), mask)
            case QHead():
                return masked(values(self.head, features), mask)
        return self.head(features)

    def forward(self, features: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Actions."""
        scores = self.scores(features, mask)
        match self.actions:
            case JointActions():
                index = scores.argmax(-1)
                tables = [
                    getattr(self, f"table_{number}")[index] for number in range(len(self.actions.table))
                ]
                chosen = from_leaves(self.actions.space, tables)
            case ActionBounds():
                chosen = (self.center + scores * self.half_range).reshape(-1, *self.actions.shape)
            case _:
                chosen = choose(cast(PolicyHead, self.head), scores, self.sampled)
        leaves = zip(leaf_spaces(self.space), leaf_observations(self.space, chosen), strict=True)
        return [self._executed(index, leaf, value) for index, (leaf, value) in enumerate(leaves)]

    def _executed(self, index: int, space: spaces.Space, action: Tensor) -> Tensor:
        """Actions `[B, ...]` clipped to the bounds of a Box, in the type of their space."""
        if is_clipped(space):
            low, high = getattr(self, f"low_{index}"), getattr(self, f"high_{index}")
            action = torch.minimum(torch.maximum(action.to(low.dtype), low), high)
        return action.to(torch_type(space.dtype))


def is_clipped(space: spaces.Space) -> TypeGuard[spaces.Box]:
    """Whether actions may lie outside a space: in a bounded Box, but of whole numbers, which are chosen."""
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
        return False
    return bool(np.isfinite(space.low).any() or np.isfinite(space.high).any())


def values(head: QHead, features: Tensor) -> Tensor:
    """Action values `[B, A]` without noise."""
    outputs = _stream(head.action_stream, features)
    if head.state_stream is None and head.shape[1] == 1:
        return outputs
    outputs = outputs.unflatten(-1, head.shape)
    if head.state_stream is not None:
        state = _stream(head.state_stream, features).unsqueeze(-2)
        outputs = outputs - outputs.mean(-2, keepdim=True) + state
    return head.values(outputs)


def _stream(stream: Stream, x: Tensor) -> Tensor:
    for layer in stream.layers:
        x = layer(x)
    return x


def choose(head: PolicyHead, outputs: Tensor, sampled: bool) -> Any:
    """Actions `[B, ...]` for outputs `[B, K]`, as `PolicyHead.choose` makes them: sampled, or the most likely ones."""
    match head:
        case CategoricalHead():
            return _categorical(outputs, sampled) + head.start
        case MultiCategoricalHead():
            columns = [_categorical(part, sampled) for part in outputs.split(head.sizes, -1)]
            choices = torch.stack(columns, -1).reshape(-1, *head.start.shape)
            return choices + torch.as_tensor(head.start) if head.start.any() else choices
        case BernoulliHead():
            # A logistic variable above -logit is an event of probability sigmoid(logit).
            uniform = torch.rand_like(outputs).clamp(1e-7, 1 - 1e-7) if sampled else None
            threshold = 0.0 if uniform is None else (uniform / (1 - uniform)).log()
            return (outputs > threshold).to(torch.int8).reshape(-1, *head.shape)
        case GaussianHead():
            action = outputs + torch.randn_like(outputs) * head.log_std.exp() if sampled else outputs
            action = action.tanh() if head.squash else action
            return (head.center + action * head.half_range).reshape(-1, *head.shape)
        case ProductHead():
            return _product(head, outputs, sampled)
    raise TypeError(f"{type(head).__name__} has no form for export")


def _product(head: ProductHead, outputs: Tensor, sampled: bool) -> Any:
    """Dicts and tuples of actions."""
    chosen = []
    columns = outputs.split(head.widths, -1)
    for part, own, shape, start in zip(head.parts, columns, head.shapes, head.starts, strict=True):
        action = choose(cast(PolicyHead, part), own, sampled).reshape(-1, *shape)
        chosen.append(action + torch.as_tensor(start) if start.any() else action)
    return from_leaves(head.space, chosen)


def _categorical(logits: Tensor, sampled: bool) -> Tensor:
    """Integers `[B]`: sampled by the Gumbel-max trick, or the largest, the first of equal ones."""
    if not sampled:
        return logits.argmax(-1)
    # -log of an exponential variable is a Gumbel variable; 0 and 1, which have no logarithm of use, are kept away.
    uniform = torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)
    return (logits - (-uniform.log()).log()).argmax(-1)
