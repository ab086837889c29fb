"""`palaestra watch`: play in the environment's own window with what a run has learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..tracking.return_text import return_text
from .terminal.options import Count, TrustSwitch, read_options
from .terminal.output import DONE


@dataclass(frozen=True)
class WatchOptions:
    """Play in the environment's own window with what a run has learned; Ctrl-C ends it."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    episodes: Count = 5
    """Episodes, one after another."""
    seed: int | None = None
    """Seed of the episodes; by default one that training never used."""
    explore: bool = False
    """Act as in training instead of always taking the best action."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where networks run; by default where the run asks for, as far as that is here."""
    trust: TrustSwitch = False


def watch(arguments: list[str]) -> int:
    """Play full episodes in a window, and say how each went."""
    options = read_options(WatchOptions, arguments, "watch")
    from ...envs.vector import Episode
    from ..run.score import watch_run
    from ..run.signals import stopping_signals

    def say_how_it_went(episode: Episode) -> None:
        print(f"return {return_text(episode.episode_return)} in {episode.length:,} steps", flush=True)

    with stopping_signals():
        watch_run(
            options.run, options.episodes, options.seed, options.explore, options.device, say_how_it_went
        )
    return DONE
