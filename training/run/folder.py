"""Folders of runs: what they are called, and how a new one is made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..settings.config import CONFIG_FILE, RunConfig
from ..settings.usage import UsageError
from .lock import LOCK_FILE, locked

# Beside the config of a run that alternates between the real environment and dreams.
CYCLE_FILE = "cycle.yaml"
# All that a start leaves that was killed before its config was written.
BEFORE_CONFIG = {LOCK_FILE, f"{CONFIG_FILE}.tmp"}


def default_run_dir(config: RunConfig) -> Path:
    """Return `runs/<env>/<agent>-seed<seed>`, with a number behind it where that is taken."""
    parent = Path("runs") / config.env.replace("/", "_").replace(":", "_")
    name = f"{config.agent.split(':')[-1].replace('/', '-')}-seed{config.seed}"
    candidates = (parent / (name if n == 1 else f"{name}-{n}") for n in range(1, sys.maxsize))
    return next(path for path in candidates if not path.exists())


def check_new(folder: Path) -> None:
    """Make sure that a folder is new or empty, so that nothing is overwritten.

    Raises:
        UsageError: something lies there already.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or any(path.name not in BEFORE_CONFIG for path in folder.iterdir()):
        raise UsageError(f"{folder} is not empty; choose another --out, or go on with --resume {folder}")


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder that must be new or empty, and keep every other process out of it while it is filled.

    Raises:
        UsageError: something lies there already, or another process is at work there.
    """
    check_new(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        check_new(folder)  # another process may have been faster
        yield
