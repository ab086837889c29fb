"""What takes the numbers, pictures and files of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """Takes what a run reports. Who subclasses it leaves out what it cannot show."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Take one row of numbers; `step` never decreases."""
        return None

    def video(self, path: Path, name: str, step: int) -> None:
        """Take an mp4 file."""
        return None

    def figure(self, path: Path, name: str, step: int) -> None:
        """Take a PNG file."""
        return None

    def artifact(self, path: Path, name: str, kind: str) -> None:
        """Take a file or folder to keep, such as a checkpoint."""
        return None

    def summary(self, values: dict[str, float]) -> None:
        """Take what the whole run came to."""
        return None

    def close(self, exit_code: int = 0) -> None:
        """Finish; a run that failed says so by its exit code."""
        return None


def first_line(error: BaseException) -> str:
    """First line of what an error says, its type where it says nothing, as some of Ray's do."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
