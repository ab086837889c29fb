"""Messages about a run that has just ended, or whose environment has failed."""

from __future__ import annotations

import traceback
from pathlib import Path

from ...envs.backends.failure import EnvironmentFailedError, RemoteError
from ...envs.outside import short_name
from ..settings.config import load_plain_config, to_dict
from ..settings.trust import command_for
from ..tracking.return_text import return_texts
from .session import Result
from .storage.checkpoint import latest_checkpoint, list_checkpoints


def describe_failure(run_dir: Path, failure: EnvironmentFailedError) -> str:
    """The environment's own traceback, what happened in one line, and how to go on."""
    cause = failure.__cause__
    lines = []
    if isinstance(cause, RemoteError):
        lines = [str(cause).strip()]
    elif cause is not None:
        lines = ["".join(traceback.format_exception(cause)).strip()]
    lines.append(f"error: {failure}")
    if run_dir.is_dir():
        saved = list_checkpoints(run_dir)
        start = (
            f"the checkpoint of step {int(latest_checkpoint(run_dir).name):,}" if saved else "the beginning"
        )
        command = command_for(to_dict(load_plain_config(run_dir)), "train", "--resume", run_dir)
        lines.append(f"when it is repaired, go on from {start}: {command}")
    lines.append("--env.on-error restart goes on without the episode that fails")
    return "\n".join(lines)


def describe(run_dir: Path, result: Result) -> str:
    """One screen about a run that has just ended."""
    if result.signal is not None:
        command = command_for(to_dict(result.config), "train", "--resume", run_dir)
        return f"stopped at step {result.step:,}; go on with: {command}"
    assert result.evaluation is not None
    summary = result.evaluation.summary()
    mean, deviation, least, most = return_texts(
        *(summary[f"return_{each}"] for each in ("mean", "std", "min", "max"))
    )
    speed = result.step / result.seconds if result.seconds > 0 else 0.0
    lines = {
        "run": str(run_dir),
        "trained": f"{result.step:,} steps in {result.seconds:.1f} s ({speed:,.0f} steps/s)",
        "return": f"{mean} +- {deviation} over {summary['episodes']} evaluation episodes (min {least}, max {most})",
        "curve": str(run_dir / "learning_curve.png"),
        "next": command_for(
            to_dict(result.config), "evaluate", run_dir, "--episodes", 100, "--video", run_dir / "videos"
        ),
    }
    agent, env = short_name(result.config.agent), short_name(result.config.env)
    head = f"{agent} on {env}, seed {result.config.seed}"
    if result.updates == 0:
        lasted = f"the agent made no update in {result.step:,} steps"
        head = f"nothing was learned: {lasted}, what acts is as it was made; give more --steps\n{head}"
    return "\n".join([head, *(f"  {name:<8} {text}" for name, text in lines.items())])
