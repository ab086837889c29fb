"""Reads an offline W&B run back from its `.wandb` file, to show what W&B will show.

The file is a LevelDB log with a 7-byte header and zlib's CRC32: blocks of 32 KiB hold chunks, one or several
chunks are a record, and each record is a protocol buffer. wandb has no public reader; this is for wandb 0.31.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..settings.usage import UsageError

BLOCK = 32768
CHUNK_HEADER = struct.Struct("<IHB")  # CRC32, length, type
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class WandbRun:
    """What an offline run holds."""

    run_id: str = ""
    project: str = ""
    entity: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    tags: list[str] = field(default_factory=list)
    notes: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    step_metrics: dict[str, str] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read_run(path: Path) -> WandbRun:
    """Read a `.wandb` file."""
    import wandb.proto.wandb_internal_pb2

    pb: Any = wandb.proto.wandb_internal_pb2
    run = WandbRun()
    with path.open("rb") as file:
        for data in records(file):
            record = pb.Record()
            record.ParseFromString(data)
            add(run, record)
    return run


def add(run: WandbRun, record: Any) -> None:
    """Add a record to a run."""
    match record.WhichOneof("record_type"):
        case "run":
            run.run_id, run.project, run.name = record.run.run_id, record.run.project, record.run.display_name
            run.group, run.job_type = record.run.run_group, record.run.job_type
            run.tags, run.notes, run.entity = list(record.run.tags), record.run.notes, record.run.entity
            run.config |= values(record.run.config.update)
        case "config":
            run.config |= values(record.config.update)
        case "metric":
            run.step_metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        case "history":
            run.history.append(values(record.history.item))
        case "summary":
            run.summary |= values(record.summary.update)
        case "artifact":
            run.artifacts.append(record.artifact.name)
        case "exit":
            run.exit_code = record.exit.exit_code


def values(items: Iterable[Any]) -> dict[str, Any]:
    """Turn key-value messages into a dictionary."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the records of a file, up to where a killed process left it."""
    if file.read(7)[:4] != b":W&B":
        raise ValueError("not a W&B log")
    record = b""
    while True:
        left = BLOCK - file.tell() % BLOCK
        if left < CHUNK_HEADER.size:
            file.read(left)
            continue
        header = file.read(CHUNK_HEADER.size)
        if len(header) < CHUNK_HEADER.size:
            return
        checksum, length, kind = CHUNK_HEADER.unpack(header)
        if checksum == length == kind == 0:  # the rest of the block is padding
            file.read(BLOCK - file.tell() % BLOCK)
            continue
        data = file.read(length)
        if len(data) < length:
            return
        if zlib.crc32(bytes([kind]) + data) != checksum:
            raise ValueError("corrupt record")
        record = data if kind in (FULL, FIRST) else record + data
        if kind in (FULL, LAST):
            yield record


@dataclass(frozen=True)
class Shown:
    """What W&B will show of one offline run."""

    folder: Path
    run: WandbRun
    curves: dict[str, list[tuple[float, Any]]]
    """Points `(step, value)` of every metric."""
    media: dict[str, list[dict[str, Any]]]
    """Tables, pictures, films by name: one entry each time it was logged."""
    faults: list[str]
    """Files that are missing or not what was logged, and steps that go back."""


def shown(folder: Path) -> list[Shown]:
    """Read every offline run in a folder and below, sessions of one run one after another.

    Raises:
        UsageError: there is none.
    """
    files = sorted(folder.rglob("offline-run-*/*.wandb"))
    if not files:
        raise UsageError(
            f"{folder} holds no offline run of W&B; WANDB_MODE=offline with --track wandb or --wandb makes one"
        )
    return [_shown(path) for path in files]


def _shown(path: Path) -> Shown:
    run = read_run(path)
    curves: dict[str, list[tuple[float, Any]]] = {}
    media: dict[str, list[dict[str, Any]]] = {}
    faults = []
    for row in run.history:
        step = row.get("step", 0)
        kinds = {key.removesuffix("/_type") for key in row if key.endswith("/_type")}
        for name in sorted(kinds):
            entry = {key.removeprefix(f"{name}/"): row[key] for key in row if key.startswith(f"{name}/")}
            media.setdefault(name, []).append(entry)
            faults += _faults_of(path.parent / "files", name, entry)
        for key, value in row.items():
            in_media = any(key.startswith(f"{name}/") for name in kinds)
            if not (in_media or key == "step" or key.startswith("_")):
                curves.setdefault(key, []).append((step, value))
    for name, points in curves.items():
        if any(later[0] < earlier[0] for earlier, later in itertools.pairwise(points)):
            faults.append(f"{name}: its steps go back")
    return Shown(path.parent, run, curves, media, faults)


def _faults_of(files: Path, name: str, entry: dict[str, Any]) -> list[str]:
    """What is wrong with the file of a table, a picture or a film."""
    path = files / str(entry.get("path"))
    if not path.is_file():
        return [f"{name}: its file {path} is missing"]
    data = path.read_bytes()
    if len(data) != entry.get("size") or hashlib.sha256(data).hexdigest() != entry.get("sha256"):
        return [f"{name}: {path} is not what was logged"]
    return []
