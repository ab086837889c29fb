"""`palaestra share`: a folder to give away of what a run has learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .terminal.options import Count, JsonSwitch, TrustSwitch, read_options
from .terminal.output import DONE, format_values, print_result


@dataclass(frozen=True)
class ShareOptions:
    """Make a folder to give away: weights, config, results, learning curve, a film and a model card."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    out: Path
    """Folder to make, new or empty."""
    episodes: Count = 100
    """Full episodes that say how good it is."""
    video: bool = True
    """Film one more episode, where the environment can be drawn."""
    export: bool = True
    """Export the policy as ONNX, too, where that can be done; needs `pip install 'palaestra[export]'`."""
    push: str | None = None
    """Upload the folder to the Hugging Face hub as OWNER/NAME; needs `pip install 'palaestra[hub]'` and a login."""
    private: bool = False
    """With --push: only you can see it."""
    trust: TrustSwitch = False
    json: JsonSwitch = False


def share(arguments: list[str]) -> int:
    """Make the folder, and upload it where that is asked for."""
    options = read_options(ShareOptions, arguments, "share")
    from ..run.signals import stopping_signals
    from ..sharing.hub import check_hub, push
    from ..sharing.share import share_run

    if options.push is not None:
        check_hub(options.push)
    with stopping_signals():
        card = share_run(options.run, options.out, options.episodes, options.video, options.export)
    report = {"folder": str(options.out), "card": str(card)}
    if options.push is not None:
        report["address"] = push(options.out, options.push, options.private)
    print_result(report, options.json, lambda values: format_values(values, width=10, digits=2))
    return DONE
