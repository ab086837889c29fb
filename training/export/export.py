"""From a run folder to a file that other programs act with, checked before it is there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ...envs.make import make_envs
from ..run.build import evaluation_spec
from ..run.loaded import load_run
from ..settings.providers import provider_of
from ..settings.trust import trusting
from ..settings.usage import RunFailedError, UsageError, as_usage_errors
from .acting import acting_parts, is_distribution
from .check import Checked, check, check_samples
from .contract import CONTRACT, check_place, contract, write_contract
from .formats import Format, choose_format, open_policy, suffix_of, write
from .policy import ExportedPolicy


def export(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    format: Format | None = None,
    stochastic: bool = False,
    trust: bool = False,
) -> dict[str, Any]:
    """Write the policy of a run to a file that acts without Palaestra, with policy.json beside it.

    Args:
        run: folder of the run.
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
    with trusting(everything=trust):
        return export_run(Path(run), None if out is None else Path(out), format, stochastic)


def export_run(
    run_dir: Path, out: Path | None = None, format: str | None = None, stochastic: bool = False
) -> dict[str, Any]:
    """The same for what is trusted already."""
    chosen = choose_format(format, out)
    out = out or run_dir / f"policy{suffix_of(chosen)}"
    check_place(out)
    run = load_run(run_dir, device="cpu")
    if provider_of("agent", run.config.agent) is not None:
        raise UsageError(
            f"{run_dir} holds a model of {run.config.agent}, whose library has exports of its own; export is for the "
            "agents of ours"
        )
    parts = acting_parts(run.config.agent, run.agent)
    if stochastic and not is_distribution(parts):
        raise UsageError(
            f"--stochastic: {run.config.agent} has a best action and no distribution to sample from; leave it off"
        )
    spec = evaluation_spec(run.config)
    with as_usage_errors():
        envs = make_envs(spec)
        envs.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as folder:
        file = Path(folder) / out.name
        checked = Checked()
        # The best actions can be compared one by one; of a policy that samples, the same networks are checked so first.
        for sampled in (False, True) if stochastic else (False,):
            policy = ExportedPolicy(parts, envs, sampled)
            try:
                write(policy, chosen, file)
                runner = open_policy(policy, chosen, file)
            except Exception as error:  # whatever an exporter says, nothing was exported
                what = " ".join(str(error).split())[:300]
                raise failed(run_dir, chosen, f"{type(error).__name__}: {what}") from error
            try:
                if sampled:
                    check_samples(policy, run.agent, runner, spec)
                else:
                    checked = check(policy, run.agent, runner, spec)
            except RunFailedError as error:
                raise failed(run_dir, chosen, str(error)) from error
        values = contract(policy, run, chosen, out, stochastic, checked)
        described = Path(folder) / CONTRACT
        write_contract(values, described)
        os.replace(file, out)
        os.replace(described, out.parent / CONTRACT)
    return values | {"path": str(out), "contract": str(out.parent / CONTRACT)}


def failed(run_dir: Path, format: str, why: str) -> RunFailedError:
    """The error of an export of which nothing is left."""
    return RunFailedError(f"{run_dir} was not exported as {format}: {why}")
