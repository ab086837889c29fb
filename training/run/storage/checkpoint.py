"""Checkpoints: folders of safetensors and JSON, whole or not there at all. Nothing is ever unpickled.

`checkpoints/000100000/` holds `tensors.safetensors` (every array, by its path), `state.json` (everything else) and
`manifest.json` (schema version, step, SHA-256 of the other two and of itself: a flipped bit loads silently otherwise).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Container, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...settings.usage import UsageError
from ...tracking.evaluations_file import EVALUATIONS_FILE
from ...tracking.metrics_file import METRICS_FILE
from ...tracking.progress import say
from .packing import Part, pack, restore, state_of, unpack

SCHEMA = 2  # 1 had no seal
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
# In the folder of a run: a name that no other run has.
IDENTITY_FILE = "run_id"


class CheckpointCorruptError(UsageError):
    """A checkpoint is incomplete, has changed since it was written, or is one of another step or run."""


def save_checkpoint(run_dir: Path, step: int, parts: Mapping[str, Part], keep: int = 2) -> Path:
    """Write all `parts` as the checkpoint of `step`, then remove all but the newest `keep` up to this step.

    It is written under another name, synced and renamed: a kill or a full disk leaves the older ones as they are.
    Checkpoints of later steps are left alone: a run comes by here again only where those are damaged.

    Raises:
        TypeError: a part holds something that has no place in a checkpoint.
        OSError: it cannot be written.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    folder = run_dir / "checkpoints"
    target, temporary = folder / f"{step:09d}", folder / f"{step:09d}.tmp"
    tensors: dict[str, torch.Tensor] = {}
    tree = {name: pack(state_of(part), name, tensors) for name, part in parts.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        _write(temporary, step, tree, tensors, _identity(run_dir))
        # A checkpoint that is on the disk counts on the rows before it.
        for logged in (run_dir / METRICS_FILE, run_dir / EVALUATIONS_FILE):
            if logged.is_file():
                _sync(logged)
        if target.exists():
            _retire(target)
        temporary.rename(target)
        _sync(folder)
        _sync(run_dir)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        number = getattr(error, "errno", None) or errno.ENOSPC  # safetensors says it in words only
        message = f"cannot write {target}, older checkpoints are as they were: {reason}"
        raise OSError(number, message) from error
    for old in [path for path in list_checkpoints(run_dir) if int(path.name) <= step][:-keep]:
        _retire(old)
    _sweep(folder)
    return target


def _write(
    folder: Path, step: int, tree: dict[str, Any], tensors: Mapping[str, torch.Tensor], run: str | None
) -> None:
    """Write the files of a checkpoint into a new folder and make sure that they are on the disk."""
    folder.mkdir()
    save_file(_unshared(tensors), folder / TENSORS)
    (folder / STATE).write_text(json.dumps(tree), encoding="utf-8")
    manifest = {
        "schema": SCHEMA,
        "step": step,
        **({} if run is None else {"run": run}),
        "sha256": {name: _sha256(folder / name) for name in (TENSORS, STATE)},
        "versions": {"palaestra": version("palaestra"), "torch": torch.__version__, "numpy": np.__version__},
    }
    (folder / MANIFEST).write_text(_sealed(manifest), encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        _sync(path)


def _unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy the tensors that share memory with one before them: safetensors refuses those."""
    seen: set[int] = set()
    alone = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        alone[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return alone


def _sealed(manifest: dict[str, Any]) -> str:
    """Return a manifest as text that ends in the SHA-256 of everything before."""
    seal = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return json.dumps({**manifest, "seal": seal}, indent=2) + "\n"


def _retire(path: Path) -> None:
    """Give a checkpoint a name that is never loaded, so that a kill cannot leave half of it."""
    path.rename(path.with_suffix(".old.tmp"))


def _sweep(folder: Path) -> None:
    """Remove retired checkpoints and what an interrupted write has left; whatever else bears such a name goes, too."""
    for leftover in folder.glob("*.tmp"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def give_identity(run_dir: Path) -> None:
    """Give a run a name of its own, unless it has one: its checkpoints bear it."""
    path = run_dir / IDENTITY_FILE
    if not path.exists():
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_text(uuid.uuid4().hex + "\n", encoding="utf-8")
        temporary.replace(path)


def _identity(run_dir: Path) -> str | None:
    """Name of the run that a folder, or the one above, belongs to; None for runs of 0.1.0, which had none."""
    for folder in (run_dir, run_dir.parent):
        if (folder / IDENTITY_FILE).is_file():
            return (folder / IDENTITY_FILE).read_text(encoding="utf-8", errors="replace").strip()
    return None


def load_checkpoint(
    path: Path, parts: Mapping[str, Part], only_these: bool = False, may_lack: Container[str] = ()
) -> None:
    """Put a checkpoint back into `parts`, which must be the same ones, or with `only_these` some of them.

    Older versions have not kept what it `may_lack`: these parts stay as they are then.

    Raises:
        CheckpointCorruptError: a file is missing or has changed.
        UsageError: the checkpoint holds other parts.
    """
    verify(path)
    try:
        tree, tensors = json.loads((path / STATE).read_text(encoding="utf-8")), load_file(path / TENSORS)
    except (ValueError, RecursionError, SafetensorError) as error:
        raise CheckpointCorruptError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    if not isinstance(tree, dict):
        raise CheckpointCorruptError(f"{path} is damaged: {STATE} holds {type(tree).__name__}")
    parts = {name: part for name, part in parts.items() if name in tree or name not in may_lack}
    missing = [name for name in parts if name not in tree]
    if missing:
        raise UsageError(f"{path} does not fit: it lacks {', '.join(missing)}")
    extra = [name for name in tree if name not in parts]
    if extra and not only_these:
        raise UsageError(f"{path} does not fit: it holds {', '.join(extra)}, which this run has not")
    try:
        # A large part does without a copy of its state beside the one that it makes.
        states = {
            name: unpack(tree[name], tensors, copy=not getattr(part, "copies_state", False))
            for name, part in parts.items()
        }
    except KeyError as error:
        raise CheckpointCorruptError(f"{path} is damaged: there is no tensor {error}") from None
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointCorruptError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    if tensors and not only_these:
        raise CheckpointCorruptError(f"{path} is damaged: nothing refers to tensor {min(tensors)!r}")
    for name, part in parts.items():
        try:
            restore(part, states[name])
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{path} does not fit {name}: {type(error).__name__}: {reason}") from error


def verify(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint whose files are as they were written.

    Raises:
        CheckpointCorruptError: they are not, or a newer version of the format wrote them.
    """
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        schema = int(manifest["schema"])
        if schema > SCHEMA:
            raise CheckpointCorruptError(
                f"{path} has format {schema}, this version reads up to {SCHEMA}; update palaestra"
            )
        if schema > 1:
            del manifest["seal"]
            if _sealed(manifest) != text:
                raise CheckpointCorruptError(f"{path / MANIFEST} has changed since it was written")
        for name in (TENSORS, STATE):
            if _sha256(path / name) != manifest["sha256"][name]:
                raise CheckpointCorruptError(f"{path / name} has changed since it was written")
        if manifest["step"] != int(path.name):
            raise CheckpointCorruptError(f"{path} is the checkpoint of step {manifest['step']}")
        run, here = manifest.get("run"), _identity(path.parent.parent)
        if None not in (run, here) and run != here:
            raise CheckpointCorruptError(f"{path} is a checkpoint of another run")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointCorruptError(f"{path} is damaged: {type(error).__name__}: {error}") from error
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
            say(f"warning: {error}; trying an older checkpoint")
    raise UsageError(f"{run_dir} has no checkpoint to go on from{': ' + damage[0] if damage else ''}")


def list_checkpoints(run_dir: Path) -> list[Path]:
    """Checkpoints, oldest first, damaged ones included."""
    found = (path for path in (run_dir / "checkpoints").glob("*") if path.name.isdecimal())
    return sorted(found, key=lambda path: int(path.name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on the disk."""
    if path.is_dir() and sys.platform == "win32":
        return  # it opens no folders
    # Windows writes nothing out for those who may only read.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
