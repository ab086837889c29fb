"""Waits for W&B's background process, which lags a little behind `finish`."""

import time
from pathlib import Path

from palaestra.training.tracking.wandb_offline import WandbRun, read_run


def finished_run(path: Path) -> WandbRun:
    """Read a run's file once W&B has ended it."""
    deadline = time.monotonic() + 10
    while (run := read_run(path)).exit_code is None:
        assert time.monotonic() < deadline, f"{path} was not finished"
        time.sleep(0.01)
    return run
