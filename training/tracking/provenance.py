"""What a run was made with: versions, commit and machine, one line of its folder for every session of training."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SESSIONS_FILE = "sessions.jsonl"
# What results depend on.
PACKAGES = (
    "palaestra",
    "torch",
    "gymnasium",
    "numpy",
    "stable-baselines3",
    "sb3-contrib",
    "Box2D",
    "mujoco",
    "ale-py",
)


def record_session(run_dir: Path, step: int) -> None:
    """Note what a session of training that begins at `step` is made with."""
    with (run_dir / SESSIONS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **surroundings()}) + "\n")


def surroundings() -> dict[str, Any]:
    """Versions of what results depend on, the commit where there is one, and the machine."""
    return {"versions": versions(), "commit": commit(), "machine": machine()}


def versions() -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Commit that this package runs from, `-dirty` behind it where files were changed; None where it was installed."""
    root = Path(__file__).resolve().parents[2]
    # Not that of a user's own repository, in which this package lies installed.
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    asked = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None


def machine() -> dict[str, Any]:
    """Processor, cores and operating system."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # macOS and Windows
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def made_with(run_dir: Path) -> list[dict[str, Any]]:
    """What the sessions of a run were made with, each combination once."""
    path = run_dir / SESSIONS_FILE
    sessions = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            sessions.append({name: value for name, value in json.loads(line).items() if name != "step"})
        except ValueError:  # cut short by a kill
            continue
    return distinct(sessions)


def distinct(sessions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each combination once."""
    return list({json.dumps(session, sort_keys=True): session for session in sessions}.values())
