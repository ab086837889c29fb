"""Where a run's numbers go: always to its metrics file, and to W&B or TensorBoard, which may fail."""

from __future__ import annotations

import errno
import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from ..settings.usage import UsageError, nearest
from .metrics_file import METRICS_FILE, read_metrics, truncate_after
from .progress import say
from .tracker import Tracker, first_line
from .wandb_login import wandb_wanted
from .wandb_tracker import WandbTracker

MODES = ("auto", "wandb", "tensorboard", "none")


class JsonlTracker(Tracker):
    """The truth about a run: one JSON object a line, `step` first, written at once.

    On resume, rows after `resume_step` are cut off: the run is about to make them again. Videos, figures and
    checkpoints lie in the run folder already.
    """

    def __init__(self, run_dir: Path, resume_step: int | None = None):
        self._path = run_dir / METRICS_FILE
        if resume_step is not None and self._path.exists():
            truncate_after(self._path, resume_step)
        # Unbuffered: a row is one system call, so a kill loses none and a full disk shows at once.
        self._file = self._path.open("xb" if resume_step is None else "ab", buffering=0)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Append a row of what is finite, as JSON has no other numbers; raises OSError where it cannot be written."""
        row = {"step": step} | finite(metrics)
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            message = f"cannot write metrics ({error.strerror}); make room, then go on with --resume"
            raise OSError(error.errno, message, str(self._path)) from error

    def close(self, exit_code: int = 0) -> None:
        """Close the file."""
        self._file.close()


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics that are numbers, neither NaN nor infinite."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


class TensorboardTracker(Tracker):
    """Writes event files for TensorBoard, in the run folder's `tensorboard/`."""

    def __init__(self, run_dir: Path, resume_step: int | None = None):
        from torch.utils.tensorboard import SummaryWriter

        purge = None if resume_step is None else resume_step + 1  # hides what is about to be made again
        self._writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=purge, flush_secs=10)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Write a row of numbers."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def figure(self, path: Path, name: str, step: int) -> None:
        """Write a PNG file."""
        import imageio.v3 as imageio

        self._writer.add_image(name, imageio.imread(path), step, dataformats="HWC")

    def close(self, exit_code: int = 0) -> None:
        """Write what is left."""
        self._writer.close()


class Trackers(Tracker):
    """The metrics file, whose failure is the run's, and sinks, each switched off at its first failure."""

    def __init__(self, file: JsonlTracker, sinks: list[Tracker], again: Iterable[dict[str, float]] = ()):
        self._file = file
        self._sinks = sinks
        # A run killed between its last checkpoint and its end evaluates at that step again: the same row.
        self._again = {(row["step"], frozenset(finite(row))) for row in again}

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log a row everywhere, unless it is one of those in `again`."""
        if (step, frozenset(finite(metrics)) | {"step"}) in self._again:
            return
        self._file.log(metrics, step)
        self._forward(lambda sink: sink.log(metrics, step))

    def video(self, path: Path, name: str, step: int) -> None:
        """Show a video in every sink."""
        self._forward(lambda sink: sink.video(path, name, step))

    def figure(self, path: Path, name: str, step: int) -> None:
        """Show a figure in every sink."""
        self._forward(lambda sink: sink.figure(path, name, step))

    def artifact(self, path: Path, name: str, kind: str) -> None:
        """Give a file or folder to every sink."""
        self._forward(lambda sink: sink.artifact(path, name, kind))

    def summary(self, values: dict[str, float]) -> None:
        """Give every sink what the run came to."""
        self._forward(lambda sink: sink.summary(values))

    def close(self, exit_code: int = 0) -> None:
        """Close the file first, so that no sink can keep it from that."""
        self._file.close()
        self._forward(lambda sink: sink.close(exit_code))

    def _forward(self, action: Callable[[Tracker], None]) -> None:
        for sink in list(self._sinks):
            try:
                action(sink)
            except Exception as error:
                self._sinks.remove(sink)
                switched_off(type(sink), error)


def switched_off(sink: type[Tracker], error: Exception) -> None:
    """Say that a sink failed."""
    reason = first_line(error)
    say(f"warning: {sink.__name__} failed and is switched off, {METRICS_FILE} has everything: {reason}")


def open_tracker(
    run_dir: Path,
    mode: Literal["auto", "wandb", "tensorboard", "none"],
    *,
    env: str,
    agent: str,
    seed: int,
    config: dict[str, Any],
    resume_step: int | None = None,
) -> Tracker:
    """Return the tracker of a run: its metrics file and, as `mode` says, a sink.

    `auto` is W&B where the user is logged in. `resume_step` is the step of the checkpoint to go on from, None
    for a new run.
    """
    check_tracking(mode)
    file = JsonlTracker(run_dir, resume_step)
    sinks: list[Tracker] = []
    if mode == "tensorboard":
        sinks.append(TensorboardTracker(run_dir, resume_step))
    if mode == "wandb" or (mode == "auto" and wandb_wanted()):
        try:
            sinks.append(WandbTracker(run_dir, env=env, agent=agent, seed=seed, config=config))
        except Exception as error:
            switched_off(WandbTracker, error)
    again = [row for row in read_metrics(run_dir) if row["step"] == resume_step]
    return Trackers(file, sinks, again)


def step_to_resume(run_dir: Path, checkpoint: Path | None) -> int | None:
    """`resume_step` of a run: its checkpoint's, 0 if it was stopped before the first one, None if it is new."""
    if checkpoint is not None:
        return int(checkpoint.name)
    return 0 if (run_dir / METRICS_FILE).exists() else None


def check_tracking(mode: str) -> None:
    """Raise UsageError where `open_tracker` could not open this mode; touches no file."""
    if mode not in MODES:
        raise UsageError(f"unknown tracker {mode!r}; {nearest(mode, MODES)}")
    if mode == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise UsageError("TensorBoard is not installed; run: pip install 'palaestra[tensorboard]'")
