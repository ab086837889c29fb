"""The state of parts, as JSON and tensors: what a checkpoint writes and reads. Nothing is ever pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ....networks.stateful import Stateful

# Keys that mark, in JSON, what JSON has no word for.
TENSOR, ARRAY, SCALAR, TUPLE, ITEMS = "__tensor__", "__array__", "__scalar__", "__tuple__", "__items__"
MARKS = {TENSOR, ARRAY, SCALAR, TUPLE, ITEMS}
# What safetensors can hold.
DTYPES = {
    *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.complex64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
}

Part = Stateful | np.random.Generator | torch.Generator


def pack(tree: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return `tree` as JSON values; its tensors and arrays go into `tensors`, under their path."""
    match tree:
        case torch.Tensor():
            return {TENSOR: _add(tree, path, tensors)}
        case np.ndarray():
            return {ARRAY: _add(tree, path, tensors)}
        case np.generic():
            return {SCALAR: _add(np.asarray(tree), path, tensors)}
        case dict() if all(isinstance(key, str) for key in tree) and not MARKS & set(tree):
            return {key: pack(value, f"{path}/{key}", tensors) for key, value in tree.items()}
        case dict():
            return {ITEMS: [pack(list(item), f"{path}/{n}", tensors) for n, item in enumerate(tree.items())]}
        case tuple():
            return {TUPLE: [pack(value, f"{path}/{n}", tensors) for n, value in enumerate(tree)]}
        case list():
            return [pack(value, f"{path}/{n}", tensors) for n, value in enumerate(tree)]
        case None | bool() | int() | float() | str():
            return tree
    raise TypeError(f"{path}: a checkpoint cannot hold {type(tree).__name__}")


def _add(value: torch.Tensor | np.ndarray, path: str, tensors: dict[str, torch.Tensor]) -> str:
    """Put a tensor or an array into `tensors`; returns its name there, which is `path` unless that is taken."""
    try:
        if isinstance(value, np.ndarray):
            tensor = torch.from_numpy(np.require(value, requirements=["C", "W"]))
        else:
            tensor = value.detach().cpu().contiguous()
    except (TypeError, ValueError, RuntimeError):
        tensor = None
    if tensor is None or tensor.dtype not in DTYPES:
        kind = f"{type(value).__name__} of {value.dtype}"
        raise TypeError(f"{path}: a checkpoint cannot hold a {kind}")
    while path in tensors:  # {"a/b": ...} beside {"a": {"b": ...}}
        path += "'"
    tensors[path] = tensor
    return path


def num_bytes(parts: Mapping[str, Part]) -> int:
    """Bytes of the tensors and arrays that a checkpoint of parts holds."""
    tensors: dict[str, torch.Tensor] = {}
    for name, part in parts.items():
        pack(state_of(part), name, tensors)
    return sum(tensor.nbytes for tensor in tensors.values())


def unpack(tree: Any, tensors: dict[str, torch.Tensor], copy: bool = True) -> Any:
    """Undo `pack`; takes what it needs out of `tensors`, copies of it unless whoever gets it keeps nothing of it."""

    def taken(name: str) -> torch.Tensor:
        # What was loaded is a mapping, which would keep the file on the disk.
        return tensors.pop(name).clone() if copy else tensors.pop(name)

    match tree:
        case {"__tensor__": name}:
            return taken(name)
        case {"__array__": name}:
            return taken(name).numpy()
        case {"__scalar__": name}:
            return tensors.pop(name).numpy()[()]
        case {"__tuple__": values}:
            return tuple(unpack(value, tensors, copy) for value in values)
        case {"__items__": items}:
            return dict(unpack(item, tensors, copy) for item in items)
        case dict():
            return {key: unpack(value, tensors, copy) for key, value in tree.items()}
        case list():
            return [unpack(value, tensors, copy) for value in tree]
    return tree


def state_of(part: Part) -> Any:
    """Return one part's state."""
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    if isinstance(part, torch.Generator):
        return {"state": part.get_state()}
    return part.state_dict()


def restore(part: Part, state: Any) -> None:
    """Put one part's state back."""
    if isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif isinstance(part, torch.Generator):
        part.set_state(state["state"])
    else:
        part.load_state_dict(state)
