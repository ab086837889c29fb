"""`palaestra evaluate`: play full episodes with what a run has learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..settings.usage import UsageError
from .terminal.options import Count, CountOrZero, JsonSwitch, TrustSwitch, read_options
from .terminal.output import DONE, format_values, print_result


@dataclass(frozen=True)
class EvaluateOptions:
    """Play full episodes with what a run has learned."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    episodes: Count = 20
    """Episodes, shared equally among copies of the environment."""
    seed: int | None = None
    """Seed of the episodes; by default one that training never used."""
    evaluate_max_steps: CountOrZero = 0
    """Cut off episodes after so many steps; 0 is what the run's own evaluations did."""
    explore: bool = False
    """Act as in training instead of always taking the best action."""
    video: Path | None = None
    """Folder for an mp4 of one more episode."""
    video_copies: Count = 1
    """Copies that play side by side in the video, each one episode."""
    gif: bool = False
    """Write the video as a small GIF, too."""
    probe: bool = False
    """Report how much of the true state a linear map finds in the encoder's features (environments of ours only)."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where networks run; by default where the run asks for, as far as that is here."""
    trust: TrustSwitch = False
    json: JsonSwitch = False


def evaluate(arguments: list[str]) -> int:
    """Play full episodes and report."""
    options = read_options(EvaluateOptions, arguments, "evaluate")
    for option, given in {"gif": options.gif, "video-copies": options.video_copies > 1}.items():
        if given and options.video is None:
            raise UsageError(f"--{option}: say where to, with --video FOLDER")
    from ..run.score import evaluate_run
    from ..run.signals import stopping_signals

    with stopping_signals():
        probed = _probe(options.run) if options.probe else {}
        report = evaluate_run(
            options.run,
            options.episodes,
            options.seed,
            options.explore,
            options.video,
            options.video_copies,
            options.gif,
            options.device,
            options.evaluate_max_steps,
        )
    print_result(report | probed, options.json, lambda values: format_values(values, width=14, digits=2))
    return DONE


def _probe(run: Path) -> dict[str, float]:
    from ..imagination.probe import probe_run

    return {"probe_r2": probe_run(run)}
