"""`palaestra doctor`: device, torch, threads, optional packages, W&B."""

from __future__ import annotations

from dataclasses import dataclass

from .terminal.options import JsonSwitch, read_options
from .terminal.output import DONE, print_result


@dataclass(frozen=True)
class DoctorOptions:
    """Device, torch, threads, optional packages, W&B."""

    json: JsonSwitch = False


def doctor(arguments: list[str]) -> int:
    """Show what is installed here."""
    options = read_options(DoctorOptions, arguments, "doctor")
    from ..tracking.doctor import diagnose, format_diagnosis

    print_result(diagnose(), options.json, format_diagnosis)
    return DONE
