"""Checkpoints: folders of safetensors and JSON, whole or not there at all. Nothing is ever unpickled.

`checkpoints/000100000/` holds `tensors.safetensors` (every array, by its path), `state.json` (everything else) and
`manifest.json` (schema version, step, SHA-256 of the other two: a flipped bit loads silently otherwise).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..agents.agent import Stateful
from .config import UsageError

SCHEMA = 1
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
# Keys that mark, in JSON, what JSON has no word for.
TENSOR, ARRAY, SCALAR, TUPLE, ITEMS = "__tensor__", "__array__", "__scalar__", "__tuple__", "__items__"
MARKS = {TENSOR, ARRAY, SCALAR, TUPLE, ITEMS}

Part = Stateful | np.random.Generator | torch.Generator


class CheckpointCorruptError(Exception):
    """A checkpoint is incomplete or has changed since it was written."""


# -- Trees of state <-> JSON and tensors ----------------------------------------------------------------------------


def pack(tree: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return `tree` as JSON values; its tensors and arrays go into `tensors`, under their path."""
    match tree:
        case torch.Tensor():
            tensors[path] = tree.detach().cpu().contiguous().clone()
            return {TENSOR: path}
        case np.ndarray():
            tensors[path] = torch.from_numpy(np.array(tree, order="C"))
            return {ARRAY: path}
        case np.generic():
            tensors[path] = torch.from_numpy(np.array(tree))
            return {SCALAR: path}
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


def unpack(tree: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Undo `pack`."""
    match tree:
        case {"__tensor__": name}:
            return tensors[name]
        case {"__array__": name}:
            return tensors[name].numpy()
        case {"__scalar__": name}:
            return tensors[name].numpy()[()]
        case {"__tuple__": values}:
            return tuple(unpack(value, tensors) for value in values)
        case {"__items__": items}:
            return dict(unpack(item, tensors) for item in items)
        case dict():
            return {key: unpack(value, tensors) for key, value in tree.items()}
        case list():
            return [unpack(value, tensors) for value in tree]
    return tree


def _state_of(part: Part) -> Any:
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    if isinstance(part, torch.Generator):
        return {"state": part.get_state()}
    return part.state_dict()


def _restore(part: Part, state: Any) -> None:
    if isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif isinstance(part, torch.Generator):
        part.set_state(state["state"])
    else:
        part.load_state_dict(state)


# -- Folders --------------------------------------------------------------------------------------------------------


def save_checkpoint(run_dir: Path, step: int, parts: Mapping[str, Part], keep: int = 2) -> Path:
    """Write all `parts` as the checkpoint of `step`, then remove all but the newest `keep`.

    It is written under another name, synced and renamed: a kill or a full disk leaves the older ones as they are.
    """
    folder = run_dir / "checkpoints"
    folder.mkdir(exist_ok=True)
    for leftover in folder.glob("*.tmp"):
        shutil.rmtree(leftover)
    target, temporary = folder / f"{step:09d}", folder / f"{step:09d}.tmp"
    tensors: dict[str, torch.Tensor] = {}
    tree = {name: pack(_state_of(part), name, tensors) for name, part in parts.items()}
    temporary.mkdir()
    save_file(tensors, temporary / TENSORS)
    (temporary / STATE).write_text(json.dumps(tree))
    manifest = {
        "schema": SCHEMA,
        "step": step,
        "sha256": {name: _sha256(temporary / name) for name in (TENSORS, STATE)},
        "versions": {"palaestra": version("palaestra"), "torch": torch.__version__, "numpy": np.__version__},
    }
    (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2))
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    if target.exists():
        shutil.rmtree(target)
    temporary.rename(target)
    _sync(folder)
    for old in list_checkpoints(run_dir)[:-keep]:
        shutil.rmtree(old)
    return target


def load_checkpoint(path: Path, parts: Mapping[str, Part], only_these: bool = False) -> None:
    """Put a checkpoint back into `parts`, which must be the same ones, or with `only_these` some of them.

    Raises:
        CheckpointCorruptError: a file is missing or has changed.
        UsageError: the checkpoint holds other parts.
    """
    verify(path)
    tree = json.loads((path / STATE).read_text())
    missing = [name for name in parts if name not in tree]
    extra = [] if only_these else [name for name in tree if name not in parts]
    if missing or extra:
        what = (
            f"lacks {', '.join(missing)}" if missing else f"holds {', '.join(extra)}, which this run has not"
        )
        raise UsageError(f"{path} does not fit: it {what}")
    tensors = load_file(path / TENSORS)
    for name, part in parts.items():
        try:
            _restore(part, unpack(tree[name], tensors))
        except (RuntimeError, KeyError) as error:
            raise UsageError(f"{path} does not fit {name}: {str(error).splitlines()[0]}") from error


def verify(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint whose files are as they were written.

    Raises:
        CheckpointCorruptError: they are not, or a newer version of the format wrote them.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        schema, hashes = int(manifest["schema"]), manifest["sha256"]
        if schema > SCHEMA:
            raise CheckpointCorruptError(
                f"{path} has format {schema}, this version reads up to {SCHEMA}; update palaestra"
            )
        for name in (TENSORS, STATE):
            if _sha256(path / name) != hashes[name]:
                raise CheckpointCorruptError(f"{path / name} has changed since it was written")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointCorruptError(f"{path} is damaged: {error!r}") from error
    return manifest


def latest_checkpoint(run_dir: Path) -> Path:
    """Return the newest checkpoint that is whole; damaged ones are skipped with a warning.

    Raises:
        UsageError: there is none.
    """
    damage = []
    for path in reversed(list_checkpoints(run_dir)):
        try:
            verify(path)
            return path
        except CheckpointCorruptError as error:
            damage.append(str(error))
            print(f"warning: {error}; trying an older checkpoint", file=sys.stderr)
    raise UsageError(f"{run_dir} has no checkpoint to go on from{': ' + damage[0] if damage else ''}")


def list_checkpoints(run_dir: Path) -> list[Path]:
    """Checkpoints, oldest first, damaged ones included."""
    return sorted(path for path in (run_dir / "checkpoints").glob("*") if path.name.isdigit())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
