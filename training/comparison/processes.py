"""Commands of the command line as child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...envs.machine import usable_cores

# By name alone: nothing here knows the command line.
COMMAND_LINE = "palaestra.training.cli.child"
# A Ctrl-C at the terminal is passed on by us, once: a second signal would cost the checkpoint.
APART: dict[str, Any] = {"start_new_session": True}
if sys.platform == "win32":
    APART = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}


def begin(
    words: list[str], log: Path, home: str | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """Start one command with one thread; its stderr goes to a log. It ends when this process does.

    Args:
        words: the command.
        log: file that stderr is added to.
        home: folder to work in; by default this process's own.
        environment: environment variables to set where this process has none of that name.
    """
    # -P: Python would look for every module in the working directory first.
    command = [sys.executable, "-P", "-m", COMMAND_LINE, *words]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    streams = {"PYTHONWARNINGS": "ignore", "PYTHONIOENCODING": "utf-8"}
    with log.open("a", encoding="utf-8") as errors:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            env={**(environment or {}), **os.environ, **threads, **streams},
            cwd=home,
            **APART,
        )


def ask_to_stop(process: subprocess.Popen) -> None:
    """Let a command write what is to be saved, and end."""
    if sys.platform == "win32":
        process.send_signal(signal.CTRL_BREAK_EVENT)  # SIGTERM would end it at once
    else:
        process.terminate()


def last_line(log: Path) -> str:
    """Last line of a command's log."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "failed without a word"


def worker_count(workers: int) -> int:
    """Number of commands at a time: as many as asked, or one a core where 0 is asked."""
    return workers or usable_cores()
