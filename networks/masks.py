"""Actions that are not allowed now: never chosen, never learned from, never expected.

An environment gives the mask as the part `action_mask` of its Dict observations. The head of the actions reads it
(`ActionMask`), in a layout that is checked once, when the agent is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from .action_spaces import simplified
from .tree import tree_leaves
from .vectors import leaf_spaces

KEY = "action_mask"
# Far below any value or logit, and still finite: a sum over all actions stays a number.
FORBIDDEN = -1e30


def mask_space(observation_space: spaces.Space) -> spaces.Space | None:
    """Space of the action mask in observations, None where there is none."""
    return observation_space.spaces.get(KEY) if isinstance(observation_space, spaces.Dict) else None


# From the value of a mask, NumPy arrays or tensors, to booleans `[..., A]`.
Reader = Callable[[Any], Any]


class ActionMask:
    """Reads the mask of observations, for one action space: `[..., A]` booleans, true where an action is allowed.

    A counts the choices of Discrete actions, the choices of all dimensions of MultiDiscrete ones, one dimension after
    another, the components of MultiBinary ones (0: stays 0), and the components of Box ones in a Tuple or Dict (always
    allowed). The observation holds them as one array of A numbers or, as Gymnasium's `sample` takes them, as a Tuple
    of one array for each dimension; of a stack of frames (one more axis in front) the newest counts. Tuple and Dict
    actions have a Tuple or Dict of masks; parts without choices may have any there, and a Dict may leave parts out.
    With `joint`, A counts the combinations of all choices instead: one is allowed where all of its choices are. Box
    actions have nothing to choose from: a mask beside them is a part of the observation like any other.

    Raises:
        ValueError: the mask has another size than the actions.
    """

    def __init__(self, mask: spaces.Space | None, action_space: spaces.Space, *, joint: bool = False):
        space = simplified(action_space)
        self.read = None if mask is None else _reader(mask, space, joint, KEY)

    def __call__(self, obs: Any) -> Any | None:
        """Mask `[..., A]` of observations `[...]`, NumPy arrays or tensors; None where there is none."""
        return None if self.read is None else self.read(obs[KEY])


def _reader(mask: spaces.Space, space: spaces.Space, joint: bool, where: str) -> Reader | None:
    """Return what reads the mask at `where` for actions of a simplified `space`; None where nothing can be masked."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return _nested_reader(mask, space, joint, where)
    sizes = choice_sizes(space)
    if sizes is None:
        return None
    in_parts = isinstance(mask, spaces.Tuple)
    shapes = [part.shape for part in (leaf_spaces(mask) if in_parts else [mask])]
    expected = sizes if in_parts else [sum(sizes)]
    if len(shapes) != len(expected) or not all(map(_fits, shapes, expected)):
        found = shapes if in_parts else shapes[0]
        wanted = [(size,) for size in expected] if in_parts else (expected[0],)
        actions = " ".join(str(space).split())
        raise ValueError(f"{where}: shape {found} does not fit {actions}, which needs {wanted}")
    stacked = [len(shape or ()) == 2 for shape in shapes]
    bounds = list(pairwise(np.cumsum([0, *sizes]).tolist()))

    def read(value: Any) -> Any:
        pairs = zip(tree_leaves(value), stacked, strict=True)
        newest = [part[..., -1, :] != 0 if stack else part != 0 for part, stack in pairs]
        allowed = newest[0] if len(newest) == 1 else concatenated(newest)
        return _joint([allowed[..., start:end] for start, end in bounds]) if joint else allowed

    return read


def _nested_reader(
    mask: spaces.Space, space: spaces.Dict | spaces.Tuple, joint: bool, where: str
) -> Reader | None:
    """The same for Tuple and Dict actions: what is read part by part, put together."""
    if not isinstance(mask, spaces.Dict if isinstance(space, spaces.Dict) else spaces.Tuple):
        kind = type(space).__name__
        raise ValueError(f"{where}: {kind} actions need a {kind} of masks, got {' '.join(str(mask).split())}")
    parts = dict(space.items() if isinstance(space, spaces.Dict) else enumerate(space))
    masks = dict(mask.items() if isinstance(mask, spaces.Dict) else enumerate(mask))
    # A Tuple is complete by its length, a Dict need not be.
    if not masks.keys() <= parts.keys() or (isinstance(mask, spaces.Tuple) and len(masks) < len(parts)):
        raise ValueError(f"{where}: masks for {list(masks)}, but actions have the parts {list(parts)}")
    readers = {
        key: _reader(masks[key], part, joint, f"{where}[{key!r}]") if key in masks else None
        for key, part in parts.items()
    }
    if not any(readers.values()):
        return None
    widths = {key: joint_count(part) if joint else output_count(part) for key, part in parts.items()}

    def read(value: Any) -> Any:
        found = {key: reader(value[key]) for key, reader in readers.items() if reader is not None}
        example = next(iter(found.values()))
        allowed = [found[key] if key in found else _all(example, widths[key]) for key in parts]
        return _joint(allowed) if joint else concatenated(allowed)

    return read


def _joint(parts: list[Any]) -> Any:
    """Which combinations `[..., A1 * A2 * ...]` are allowed where these are of each part, `[..., A1]` and so on."""
    joint, *others = parts
    for other in others:
        joint = (joint[..., :, None] & other[..., None, :]).reshape(*other.shape[:-1], -1)
    return joint


def _all(example: Any, width: int) -> Any:
    """A mask `[..., width]` that allows everything, for as many observations as the `example [..., A]` is for."""
    if isinstance(example, np.ndarray):
        return np.ones((*example.shape[:-1], width), bool)
    return example.new_ones((*example.shape[:-1], width))


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


def output_count(space: spaces.Space) -> int:
    """Outputs of a policy for actions of a simplified space: one for each choice or component."""
    leaves = leaf_spaces(space)
    return sum(sum(choice_sizes(leaf) or [int(np.prod(leaf.shape or ()))]) for leaf in leaves)


def joint_count(space: spaces.Space) -> int:
    """How many combinations of choices a simplified space without Boxes has."""
    return math.prod(size for leaf in leaf_spaces(space) for size in choice_sizes(leaf) or [])


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
