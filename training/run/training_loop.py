"""How a run is trained: by our loop, or by the one that an algorithm brings along."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from ...envs.vector import Envs
from ..settings.config import RunConfig
from ..settings.resources import Footprint
from ..tracking.progress import Progress
from ..tracking.tracker import Tracker
from .evaluate import Actor
from .session import Result


class TrainingLoop(ABC):
    """What a run is checked, trained, gone on with and loaded by.

    An algorithm that brings its own loop is a subclass, and stands where an agent's class stands; every other agent
    is trained by `AgentLoop`. A loop has no state: all of it lies in the run folder.
    """

    @classmethod
    def settle(cls, config: RunConfig) -> RunConfig:
        """Return the config with what this loop decides by itself."""
        return config

    @classmethod
    @abstractmethod
    def check(cls, config: RunConfig, envs: Envs) -> Footprint:
        """Build everything once, so that what is wrong with a request shows before anything is written.

        Raises:
            UsageError, ValueError, TypeError: the algorithm does not take these environments or options.
        """

    @classmethod
    @abstractmethod
    def resume(cls, config: RunConfig, run_dir: Path, steps: int | None) -> tuple[RunConfig, Path | None]:
        """Return the config to go on with, of `steps` in all where given, and the checkpoint to go on from.

        Nothing is written here.

        Raises:
            UsageError: the run cannot go on, or not for so many steps.
        """

    @classmethod
    @abstractmethod
    def train(
        cls, config: RunConfig, run_dir: Path, tracker: Tracker, progress: Progress, checkpoint: Path | None
    ) -> Result:
        """Train from the start or from `checkpoint`, and leave everything in `run_dir`."""

    @classmethod
    def tidy(cls, run_dir: Path) -> None:
        """Remove what only an unfinished run needs, now that its summary is written; nothing by default."""
        return

    @classmethod
    @abstractmethod
    def load(cls, config: RunConfig, run_dir: Path, envs: Envs) -> tuple[Actor, int]:
        """Return what a run has learned, for the spaces of `envs`, and the steps it was trained for."""

    @classmethod
    def hand_over(cls, run_dir: Path, actor: Actor, step: int, out: Path) -> None:
        """Put into `out` what `load` needs to act by; `actor` and `step` are what it returned. All files by default."""
        for path in cls.learned(run_dir).values():
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, out / path.name)

    @classmethod
    @abstractmethod
    def learned(cls, run_dir: Path) -> dict[str, Path]:
        """Files or folders that hold what a finished run has learned, by their names among artifacts."""
