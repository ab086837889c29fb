"""Actions that are not allowed now: never chosen, never learned from, never expected.

An environment gives the mask as the part `action_mask` of its Dict observations. The head of the actions reads it
(`ActionMask`), in a layout that is checked once, when the agent is built.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

KEY = "action_mask"
# Far below any value or logit, and still finite: a sum over all actions stays a number.
FORBIDDEN = -1e30


def mask_space(observation_space: spaces.Space) -> spaces.Space | None:
    """Space of the action mask in observations, None where there is none."""
    return observation_space.spaces.get(KEY) if isinstance(observation_space, spaces.Dict) else None


class ActionMask:
    """Reads the mask of observations, for one action space: `[..., A]` booleans, true where an action is allowed.

    A counts the choices of Discrete actions, the choices of all dimensions of MultiDiscrete ones, one dimension after
    another, and the components of MultiBinary ones (0: stays 0). The observation holds them as one array of A numbers
    or, as Gymnasium's `sample` takes them, as a Tuple of one array for each dimension; of a stack of frames (one more
    axis in front) the newest counts. With `joint`, A counts the combinations of MultiDiscrete choices instead: one
    is allowed where all of its choices are. Box actions have nothing to choose from: a mask beside them is a part of
    the observation like any other.

    Raises:
        ValueError: the mask has another size than the actions.
    """

    def __init__(self, mask: spaces.Space | None, action_space: spaces.Space, *, joint: bool = False):
        sizes = choice_sizes(action_space)
        self.present = mask is not None and sizes is not None
        self.tuple = isinstance(mask, spaces.Tuple)
        self.stacked: list[bool] = []
        self.bounds: list[tuple[int, int]] = []
        if mask is not None and sizes is not None:
            parts = list(mask) if isinstance(mask, spaces.Tuple) else [mask]
            expected = sizes if self.tuple else [sum(sizes)]
            shapes = [part.shape for part in parts]
            if len(parts) != len(expected) or not all(map(_fits, shapes, expected)):
                found = shapes if self.tuple else shapes[0]
                wanted = [(size,) for size in expected] if self.tuple else (expected[0],)
                actions = " ".join(str(action_space).split())
                raise ValueError(f"action_mask: shape {found} does not fit {actions}, which needs {wanted}")
            self.stacked = [len(shape or ()) == 2 for shape in shapes]
            if joint and len(sizes) > 1:
                self.bounds = list(pairwise(np.cumsum([0, *sizes]).tolist()))

    def __call__(self, obs: Any) -> Any | None:
        """Mask `[..., A]` of observations `[...]`, NumPy arrays or tensors; None where there is none."""
        if not self.present:
            return None
        parts = obs[KEY] if self.tuple else (obs[KEY],)
        pairs = zip(parts, self.stacked, strict=True)
        newest = [part[..., -1, :] != 0 if stacked else part != 0 for part, stacked in pairs]
        allowed = newest[0] if len(newest) == 1 else concatenated(newest)
        if not self.bounds:
            return allowed
        joint, *others = (allowed[..., start:end] for start, end in self.bounds)
        for other in others:
            joint = (joint[..., :, None] & other[..., None, :]).reshape(*allowed.shape[:-1], -1)
        return joint


def choice_sizes(space: spaces.Space) -> list[int] | None:
    """How many choices each dimension of an action has (a MultiBinary is one of as many); None without choices."""
    match space:
        case spaces.Discrete():
            return [int(space.n)]
        case spaces.MultiDiscrete():
            return [int(n) for n in space.nvec.ravel()]
        case spaces.MultiBinary():
            return [int(np.prod(space.shape))]
    return None


def _fits(shape: tuple[int, ...] | None, size: int) -> bool:
    return shape is not None and len(shape) in (1, 2) and shape[-1] == size


def concatenated(parts: list[Any]) -> Any:
    """NumPy arrays or tensors `[..., A]` one after another."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, -1)
    return torch.cat(parts, -1)


def masked(outputs: Any, mask: Any | None) -> Any:
    """Values or logits `[..., A]` with the forbidden ones out of reach; NumPy arrays or tensors."""
    return outputs if mask is None else outputs * mask + FORBIDDEN * ~mask


def best_action(values: Any, mask: Any | None) -> Any:
    """Index `[...]` of the largest of `values [..., A]` where `mask [..., A]` is true."""
    return masked(values, mask).argmax(-1)
