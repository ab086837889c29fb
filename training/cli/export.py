"""`palaestra export`: the policy of a run as a file that acts without Palaestra."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..tracking.return_text import return_text
from .terminal.options import JsonSwitch, TrustSwitch, read_options
from .terminal.output import DONE, print_result


@dataclass(frozen=True)
class ExportOptions:
    """Write the policy of a run to a file that acts without Palaestra, checked against the run; policy.json beside it
    says what goes in and out.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    format: Literal["onnx", "torchscript", "torch-export"] | None = None
    """What to write; by default what the suffix of --out says, onnx without one."""
    out: Path | None = None
    """The file; by default policy.onnx, or what the format is called, in the run's folder."""
    stochastic: bool = False
    """Sample actions from the policy instead of taking the best ones."""
    trust: TrustSwitch = False
    json: JsonSwitch = False


def export(arguments: list[str]) -> int:
    """Export and say what was checked."""
    options = read_options(ExportOptions, arguments, "export")
    from ..export.export import export_run
    from ..run.signals import stopping_signals

    with stopping_signals():
        report = export_run(options.run, options.out, options.format, options.stochastic)
    print_result(report, options.json, describe)
    return DONE


def describe(report: dict[str, Any]) -> str:
    """What was written, and what is equal."""
    checked = report["checked"]
    lines = [
        f"wrote    {report['path']} and {report['contract']}",
        f"inputs   {_ports(report['inputs'])}",
        f"outputs  {_ports(report['outputs'])}",
        f"checked  the same actions as the run's for {checked['observations']:,} random observations and in an episode "
        f"of {checked['episode_steps']:,} steps (return {return_text(checked['episode_return'])})",
    ]
    if checked["ties"]:
        lines.append(f"         {checked['ties']} times another action that is worth the same")
    return "\n".join(lines)


def _ports(ports: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{port['name']} {port['dtype']}[{', '.join(map(str, port['shape']))}]" for port in ports
    )
