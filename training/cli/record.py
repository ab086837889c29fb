"""`palaestra record`: keep what a run's agent does, for others to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..settings.usage import typed_command
from .terminal.options import Count, CountOrZero, JsonSwitch, TrustSwitch, read_options
from .terminal.output import DONE, format_values, print_result


@dataclass(frozen=True)
class RecordOptions:
    """Play full episodes with what a run has learned, and keep them as demonstrations."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    out: Path
    """Folder of the demonstrations, new or empty."""
    episodes: Count = 20
    """Episodes, shared equally among copies of the environment."""
    seed: int | None = None
    """Seed of the episodes; by default one that neither training nor evaluations use."""
    explore: bool = False
    """Act as in training instead of always taking the best action."""
    evaluate_max_steps: CountOrZero = 0
    """Cut off episodes after so many steps; 0 is what the run's own evaluations did."""
    minari: str | None = None
    """Write them as a dataset of Minari's, too, of this name, such as mine/cartpole-v0."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where networks run; by default where the run asks for, as far as that is here."""
    trust: TrustSwitch = False
    json: JsonSwitch = False


def record(arguments: list[str]) -> int:
    """Play and keep full episodes."""
    options = read_options(RecordOptions, arguments, "record")
    from ..demonstrations.recording import record_run
    from ..run.signals import stopping_signals

    with stopping_signals():
        report = record_run(
            options.run,
            options.episodes,
            options.out,
            seed=options.seed,
            explore=options.explore,
            minari=options.minari,
            device=options.device,
            max_steps=options.evaluate_max_steps,
        )
    print_result(report, options.json, lambda values: format_values(values, width=14, digits=2))
    if not options.json:
        command = typed_command("train", "bc", "--env", report["env"], "--data", options.out)
        print(f"next           {command}")
    return DONE
