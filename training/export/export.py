"""From a run folder to a file that other programs act with, checked before it is there."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from ...envs.make import make_envs
from ..run.build import evaluation_spec
from ..run.loaded import LoadedRun, load_run
from ..settings.providers import provider_of
from ..settings.usage import RunFailedError, UsageError, as_usage_errors
from .acting import acting_parts
from .check import check, check_samples
from .contract import CONTRACT, check_place, contract, write_contract
from .formats import Format, Runner, choose_format, open_policy, suffix_of, write
from .policy import ExportedPolicy


def export_run(
    run_dir: Path, out: Path | None = None, format: str | None = None, stochastic: bool = False
) -> dict[str, Any]:
    """Write the policy of a run to a file, with policy.json beside it; returns what that says, and both paths.

    Raises:
        UsageError: there is no such run or format, or no exported form of its agent.
        RunFailedError: what was exported acts otherwise than the agent; no file is left.
    """
    chosen = choose_format(format, out)
    out = out or run_dir / f"policy{suffix_of(chosen)}"
    run = load_run(run_dir, device="cpu")
    if provider_of("agent", run.config.agent) is not None:
        raise UsageError(
            f"{run_dir} holds a model of {run.config.agent}, whose library has exports of its own; export is for the "
            "agents of ours"
        )
    policy = exported_policy(run)
    check_place(out, policy)
    return export_loaded(run, policy, chosen, out, stochastic)


def exported_policy(run: LoadedRun) -> ExportedPolicy:
    """What acts in a loaded run, and what its wrappers do to observations, as one module."""
    with as_usage_errors(), closing(make_envs(evaluation_spec(run.config))) as envs:
        return ExportedPolicy(acting_parts(run.config.agent, run.agent), envs)


def export_loaded(
    run: LoadedRun, policy: ExportedPolicy, format: Format, out: Path, stochastic: bool = False
) -> dict[str, Any]:
    """Write what acts in a loaded run, and policy.json; nothing where the file does not act as the run does."""
    if stochastic and not policy.choice.is_distribution:
        raise UsageError(
            f"--stochastic: {run.config.agent} has a best action and no distribution to sample from; leave it off"
        )
    spec = evaluation_spec(run.config)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as folder:
        file, described = Path(folder) / out.name, Path(folder) / CONTRACT
        try:
            # The best actions can be compared one by one: a policy that samples is checked with them, too.
            policy.choice.sampled = False
            checked = check(policy, run.agent, written(policy, format, file), spec)
            if stochastic:
                policy.choice.sampled = True
                check_samples(policy, run.agent, written(policy, format, file), spec)
        except RunFailedError as error:
            raise RunFailedError(f"{run.config.agent} was not exported as {format}: {error}") from error
        values = contract(policy, run, format, out, checked)
        write_contract(values, described)
        os.replace(file, out)
        os.replace(described, out.parent / CONTRACT)
    return values | {"path": str(out), "contract": str(out.parent / CONTRACT)}


def written(policy: ExportedPolicy, format: Format, file: Path) -> Runner:
    """Write a policy and load it again.

    Raises:
        RunFailedError: an exporter or a runtime refuses it.
    """
    try:
        write(policy, format, file)
        return open_policy(policy, format, file)
    except Exception as error:  # of whatever kind: nothing was exported
        what = " ".join(str(error).split())[:300]
        raise RunFailedError(f"{type(error).__name__}: {what}") from error
