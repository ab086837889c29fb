"""What a run was made with: versions, commit and machine, one line of its folder for every session of training."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...envs.machine import usable_cores
from ..settings.ranks import this_rank
from .code_files import code_files
from .progress import say

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
    "minigrid",
    "minatar",
)


def record_session(
    run_dir: Path, step: int, device: str, threads: int, files: Mapping[str, str] | None = None
) -> None:
    """Note what a session of training that begins at `step` is made with, the user's own files by their hashes."""
    begun = {"step": step, "device": device, "threads": threads} | ({"files": dict(files)} if files else {})
    if (ranks := this_rank().size) > 1:
        begun["ranks"] = ranks
    with (run_dir / SESSIONS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(begun | surroundings()) + "\n")


def last_session(run_dir: Path) -> dict[str, Any]:
    """Device and threads of a run's last session; nothing where none has told."""
    known = [session for session in _sessions(run_dir) if {"device", "threads"} <= session.keys()]
    return {name: known[-1][name] for name in ("device", "threads")} if known else {}


def last_ranks(run_dir: Path) -> int | None:
    """Processes that trained in a run's last session; None where there was none."""
    sessions = _sessions(run_dir)
    return int(sessions[-1].get("ranks", 1)) if sessions else None


def last_files(run_dir: Path) -> dict[str, str]:
    """Hashes of the files of the user's own in the last session that had some, by path."""
    known = [found for session in _sessions(run_dir) if isinstance(found := session.get("files"), dict)]
    return known[-1] if known else {}


def changed_versions(run_dir: Path) -> list[str]:
    """Packages, and Python, that had another version in a run's last session, as `torch 2.13.0 after 2.12.0`."""
    sessions = _sessions(run_dir)
    before = sessions[-1].get("versions") if sessions else None
    now = versions()
    return [
        f"{name} {now.get(name)} after {then}"
        for name, then in (before.items() if isinstance(before, dict) else ())
        if now.get(name) != then
    ]


def note_changed_files(run_dir: Path, values: dict[str, Any]) -> None:
    """Say which of the files that a run depends on, by its config, are not what they were in its last session."""
    if not (before := last_files(run_dir)):
        return
    now = code_files(values)
    for called in sorted(called for called in now if before.get(called, now[called]) != now[called]):
        say(f"note: {called} has changed since the last session: {run_dir} takes what it holds now")


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
    """Commit that this package runs from, `-dirty` behind it where files were changed; None where it is not known."""
    root = Path(__file__).resolve().parents[2]
    # Not that of a user's own repository, in which this package lies installed.
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        asked = subprocess.run(
            command, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError:  # git is not installed
        return None
    return asked.stdout.strip() or None


def machine() -> dict[str, Any]:
    """Processor, cores and operating system."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
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
    names = ("versions", "commit", "machine")
    return distinct(
        {name: session[name] for name in names if name in session} for session in _sessions(run_dir)
    )


def _sessions(run_dir: Path) -> list[dict[str, Any]]:
    """Lines of a run's sessions, without those that a kill has cut short."""
    path = run_dir / SESSIONS_FILE
    sessions = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            session = json.loads(line)
        except ValueError:
            continue
        sessions += [session] if isinstance(session, dict) else []
    return sessions


def distinct(sessions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each combination once."""
    return list({json.dumps(session, sort_keys=True): session for session in sessions}.values())
