"""What a run says where the user's own files are not what they were when it trained."""

from __future__ import annotations

from pathlib import Path

from ..settings.code_files import code_files
from ..settings.config import RunConfig, to_dict
from ..tracking.progress import say
from ..tracking.provenance import last_files


def note_changed_files(run_dir: Path, kept: RunConfig) -> None:
    """Say which of the files that a run depends on are not what they were in its last session."""
    if not (before := last_files(run_dir)):
        return
    now = code_files(to_dict(kept))
    for called in sorted(called for called in now if before.get(called, now[called]) != now[called]):
        say(f"note: {called} has changed since the last session: {run_dir} takes what it holds now")
