"""Folders of runs: what they are called, how a new one is made, and what may happen to one meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ....envs.outside import short_name
from ...settings.config import CONFIG_FILE, RunConfig
from ...settings.usage import RunFailedError, UsageError
from .lock import LOCK_FILE, locked

# Beside the config of a run that alternates between the real environment and dreams.
CYCLE_FILE = "cycle.yaml"
# The config of a world model, and the folder of the one that belongs to such a run.
MODEL_CONFIG_FILE, MODEL_FOLDER = "world_model.yaml", "world_model"
# Below a world model's folder, the real episodes that it was fitted to.
DATA_FOLDER = "data"
# All that a start leaves that was killed before its config was written: the last one, whatever it is a start of.
BEFORE_CONFIG = {
    *(LOCK_FILE, f"{CONFIG_FILE}.tmp", f"{MODEL_CONFIG_FILE}.tmp", CYCLE_FILE, f"{CYCLE_FILE}.tmp"),
    MODEL_FOLDER,
}


def default_run_dir(config: RunConfig) -> Path:
    """Return `runs/<env>/<agent>-seed<seed>`, with a number behind it where that is taken."""
    parent = Path("runs") / short_name(config.env).replace("/", "_").replace(":", "_")
    name = f"{config.agent.split(':')[-1].replace('/', '-')}-seed{config.seed}"
    candidates = (parent / (name if n == 1 else f"{name}-{n}") for n in range(1, sys.maxsize))
    return next(path for path in candidates if not path.exists())


def check_new(folder: Path) -> None:
    """Make sure that a folder is new or empty, so that nothing is overwritten.

    One that was only half made, by a start that was killed, counts as new.

    Raises:
        UsageError: something lies there already.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or not _is_half_made(folder):
        begun = any((folder / name).is_file() for name in (CONFIG_FILE, MODEL_CONFIG_FILE))
        hint = f", or go on with --resume {folder}" if begun else ""
        raise UsageError(f"{folder} is not empty; choose another --out{hint}")


def has_config_alone(folder: Path) -> bool:
    """Whether a run was configured there and never begun."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} - {LOCK_FILE} == {CONFIG_FILE}


def _is_half_made(folder: Path) -> bool:
    """Whether a folder holds nothing but what a start writes before the config."""
    if any(path.name not in BEFORE_CONFIG for path in folder.iterdir()):
        return False
    model = folder / MODEL_FOLDER
    if not model.exists():
        return True
    made = {MODEL_CONFIG_FILE, f"{MODEL_CONFIG_FILE}.tmp"}
    return model.is_dir() and not model.is_symlink() and all(path.name in made for path in model.iterdir())


@contextmanager
def new_folder(folder: Path, given: Path | None = None) -> Iterator[None]:
    """Make a folder that must be new or empty, and keep every other process out of it while it is filled.

    Args:
        folder: its path.
        given: the same as the user has typed it.

    Raises:
        UsageError: something lies there already, or another process is at work there.
        OSError: it cannot be made.
    """
    check_new(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        error.filename = str(given or folder)
        raise
    with locked(folder):
        check_new(folder)  # another process may have been faster
        for name in BEFORE_CONFIG - {LOCK_FILE}:
            if (folder / name).is_dir() and not (folder / name).is_symlink():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        yield


@contextmanager
def write_errors(how_to_go_on: str) -> Iterator[None]:
    """Turn an error of the operating system into one line that ends in the command that goes on.

    What was saved before is whole: checkpoints are renamed when they are complete.

    Raises:
        RunFailedError: a file could not be written or read.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        place = f"{error.filename}: " if error.filename else ""
        room = "make room, then " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise RunFailedError(
            f"{place}{' '.join(str(reason).split())}; what was saved before is whole; {room}{how_to_go_on}"
        ) from error


def check_still_there(run_dir: Path, file: str) -> None:
    """Raise `RunFailedError` where a run's folder has been removed or moved: its files would lie in two places."""
    if not (run_dir / file).is_file():
        raise RunFailedError(
            f"{run_dir} has been removed or moved while it was written to ({file} is gone): stopped; where it was "
            "moved, go on with --resume there"
        )


def absolute(folder: Path) -> Path:
    """A folder's absolute path: an environment may change the working directory. Links are left as they are.

    `~` is the home folder, as shells read it only where it begins a word: not in `--out=~/runs`, nor in Python.
    """
    return Path(os.path.abspath(os.path.expanduser(folder)))


def check_links(folder: Path) -> None:
    """Make sure that nothing in a folder leads out of it: a link there may stand where a file is to be written.

    W&B's own folder is left out: it has links to what it saves.

    Raises:
        UsageError: a link does.
    """
    home = Path(os.path.realpath(folder))
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            if path.parent.name == "checkpoints" and path.suffix == ".tmp":
                continue  # removed, and not followed, before the next one is written
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
                raise UsageError(
                    f"{path} is a link that leads out of {folder}: nothing is written there; remove it"
                )
        folders[:] = [name for name in folders if name != "wandb"]
