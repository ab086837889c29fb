"""Parts from outside are tried once when they are built: what is wrong is said there, and with their names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from torch import Tensor, nn

from .masks import KEY, mask_space
from .tree import tree_map

# Packages whose modules keep the contracts, and act as they learn.
KNOWN = ("palaestra.", "torch.")


def is_ours(part: Any) -> bool:
    """Whether a module, or the class of one, is ours or PyTorch's."""
    found = part if isinstance(part, type) else type(part)
    return found.__module__.startswith(KNOWN)


@contextmanager
def named(part: type, doing: str) -> Iterator[None]:
    """Name a part from outside in whatever goes wrong in it.

    Raises:
        TypeError: something does; of our parts the error is left as it is.
    """
    try:
        yield
    except Exception as error:
        if is_ours(part):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise TypeError(f"{part.__name__} fails when it {doing}: {what}") from error


@contextmanager
def acting(*parts: nn.Module) -> Iterator[None]:
    """Let modules act and not learn; those that were made to stay as they are (`eval()`) do afterwards, too."""
    learning = [module for part in parts for module in part.modules() if module.training]
    for module in learning:
        module.training = False
    try:
        yield
    finally:
        for module in learning:
            module.training = True


def check_parts(encoder: Any, memory: Any, space: spaces.Space) -> None:
    """Try an encoder and a memory on two observations.

    Raises:
        TypeError: its encoder or its memory fails, or returns something else than its `size` and `state_size` say.
    """
    with torch.no_grad(), acting(encoder, memory):
        with named(type(encoder), "encodes two observations"):
            features = encoder(tree_map(torch.as_tensor, two_observations(space)))
        _check(type(encoder), "features", features, (2, encoder.size))
        with named(type(memory), "begins two episodes"):
            state = memory.initial_state(2)
        _check(type(memory), "a first state", state, (2, memory.state_size))
        with named(type(memory), "takes one step"):
            found = memory(features[None], state, torch.ones(1, 2, dtype=torch.bool))
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(
            f"{type(memory).__name__} returns {type(found).__name__}, not outputs and the next state"
        )
    _check(type(memory), "outputs", found[0], (1, 2, memory.size))
    _check(type(memory), "a next state", found[1], (2, memory.state_size))


def two_observations(space: spaces.Space) -> Any:
    """Two observations, arrays `[2, ...]`; the same ones for a space every time."""
    own = deepcopy(space)
    own.seed(0)
    empty: Any = create_empty_array(own, 2)
    batch: Any = concatenate(own, [own.sample(), own.sample()], empty)
    if mask_space(space) is not None:
        # Not one that allows nothing.
        batch[KEY] = tree_map(np.ones_like, batch[KEY])
    return batch


def _check(part: type, what: str, found: Any, shape: tuple[int, ...]) -> None:
    if isinstance(found, Tensor) and found.shape == shape and found.is_floating_point():
        return
    is_what = f"{tuple(found.shape)} {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
    raise TypeError(f"{part.__name__} returns {what} {is_what}; expected are numbers {shape}")
