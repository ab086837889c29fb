"""What a run or a fit has learned, loaded or written to a file, with the program's own state left as it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .passed import Passed
from .run_object import Run
from .training.export.export import export_run
from .training.export.formats import Format
from .training.imagination.fits import FittedModel
from .training.imagination.fits import load_world_model as load_fitted
from .training.run.loaded import load_run
from .training.run.policy import LoadedPolicy
from .training.run.storage.folder import absolute
from .within import within

if TYPE_CHECKING:
    import torch


@contextmanager
def folder_within(run: Run | str | os.PathLike[str], trust: bool) -> Iterator[Path]:
    """Yield the folder of a run, with what was passed for it."""
    passed, folder = (run._passed, run.folder) if isinstance(run, Run) else (Passed(), absolute(Path(run)))
    with within(passed, trust=trust or (isinstance(run, Run) and run._trust)):
        yield folder


def load_policy(run_dir: Run | str | os.PathLike[str], trust: bool = False) -> LoadedPolicy:
    """Load what a run has learned; see `LoadedPolicy.predict`.

    Args:
        run_dir: folder of the run, or the run.
        trust: import what the folder names even where it is neither ours nor registered by an installed package.

    Raises:
        UsageError: it is no run, or it names such code and `trust` is False.
    """
    with folder_within(run_dir, trust) as folder:
        run = load_run(folder)
    return LoadedPolicy(run.agent, run.observation_space, run.action_space)


def load_world_model(
    run_dir: str | os.PathLike[str], device: torch.device | str | None = None, trust: bool = False
) -> FittedModel:
    """Load what a fit has left.

    Args:
        run_dir: folder of the world model.
        device: where its networks shall be.
        trust: import what the folder names even where it is neither ours nor registered by an installed package.

    Raises:
        UsageError: it is no world model, its fit has not ended, or it names such code and `trust` is False.
    """
    with folder_within(run_dir, trust) as folder:
        return load_fitted(folder, device)


def export(
    run: Run | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    format: Format | None = None,
    stochastic: bool = False,
    trust: bool = False,
) -> dict[str, Any]:
    """Write the policy of a run to a file that acts without Palaestra, with policy.json beside it.

    Args:
        run: folder of the run, or the run.
        out: the file; by default `policy.onnx` in the run's folder.
        format: "onnx", "torchscript" or "torch-export"; by default what the suffix of `out` says.
        stochastic: sample actions from the policy instead of taking the best ones.
        trust: import what the folder names even where it is neither ours nor registered by an installed package.

    Returns:
        What policy.json says, with the paths of both files.

    Raises:
        UsageError: there is no such run or format, or no exported form of its agent.
        RunFailedError: what was exported acts otherwise than the agent; no file is left.
    """
    with folder_within(run, trust) as folder:
        return export_run(folder, None if out is None else absolute(Path(out)), format, stochastic)
