"""What a run or a fit has learned, loaded or written to a file, with the program's own state left as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .passed import Passed
from .run_object import Run
from .training.export.export import export_run
from .training.export.formats import Format
from .training.imagination.fits import FittedModel
from .training.imagination.fits import load_world_model as load_fitted
from .training.run.policy import LoadedPolicy
from .training.run.storage.folder import absolute
from .within import within

if TYPE_CHECKING:
    import torch


def as_run(run: Run | str | os.PathLike[str], trust: bool) -> Run:
    """A run by its folder, or the same run with more trust."""
    if isinstance(run, Run):
        return Run(run.folder, run._passed, trust or run._trust)
    return Run(absolute(Path(run)), trust=trust)


def load_policy(run_dir: Run | str | os.PathLike[str], trust: bool = False) -> LoadedPolicy:
    """Load what a run has learned; see `LoadedPolicy.predict`.

    Args:
        run_dir: folder of the run, or the run.
        trust: import what the folder names even where it is neither ours nor registered by an installed package.

    Raises:
        UsageError: it is no run, or it names such code and `trust` is False.
    """
    return as_run(run_dir, trust).policy


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
    with within(Passed(), trust=trust):
        return load_fitted(absolute(Path(run_dir)), device)


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
    known = as_run(run, trust)
    with within(known._passed, trust=known._trust):
        return export_run(known.folder, None if out is None else absolute(Path(out)), format, stochastic)
