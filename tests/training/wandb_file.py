"""Reads an offline W&B run back from its `.wandb` file, to prove what was logged.

The file is a LevelDB log with a 7-byte header and zlib's CRC32: blocks of 32 KiB hold chunks, one or several
chunks are a record, and each record is a protocol buffer. wandb has no public reader; this is for wandb 0.31.
"""

import json
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from wandb.proto import wandb_internal_pb2 as pb

BLOCK = 32768
CHUNK_HEADER = struct.Struct("<IHB")  # CRC32, length, type
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class WandbRun:
    """What an offline run holds."""

    run_id: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    step_metrics: dict[str, str] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def finished_run(path: Path) -> WandbRun:
    """Read a run's file once W&B's background process, which lags a little behind `finish`, has ended it."""
    deadline = time.monotonic() + 10
    while (run := read_run(path)).exit_code is None:
        assert time.monotonic() < deadline, f"{path} was not finished"
        time.sleep(0.01)
    return run


def read_run(path: Path) -> WandbRun:
    """Read a `.wandb` file."""
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
            run.tags = list(record.run.tags)
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
