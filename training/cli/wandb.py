"""`palaestra wandb`: what W&B will show of runs that were logged offline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .terminal.options import JsonSwitch, read_options
from .terminal.output import DONE, FAILURE, print_result

if TYPE_CHECKING:
    from ..tracking.wandb_offline import Shown


@dataclass(frozen=True)
class WandbOptions:
    """What W&B will show of runs that were logged offline, read back from their files and checked."""

    folder: Annotated[Path, tyro.conf.Positional]
    """A run, a comparison, or a folder of them."""
    json: JsonSwitch = False


def wandb(arguments: list[str]) -> int:
    """Print what each offline run holds; exit code 1 if something in one is missing or damaged."""
    options = read_options(WandbOptions, arguments, "wandb")
    from ..tracking.wandb_offline import shown

    found = shown(options.folder)
    print_result({"runs": [as_values(each) for each in found]}, options.json, lambda _: as_text(found))
    return FAILURE if any(each.faults for each in found) else DONE


def as_values(each: Shown) -> dict[str, Any]:
    """What `--json` prints of a run."""
    run = each.run
    return {
        "folder": str(each.folder),
        "project": run.project,
        "entity": run.entity,
        "group": run.group,
        "job_type": run.job_type,
        "name": run.name,
        "id": run.run_id,
        "tags": run.tags,
        "notes": run.notes,
        "config": run.config,
        "curves": {
            name: {"points": len(points), "last": points[-1][1]} for name, points in each.curves.items()
        },
        "media": {name: entries[-1] | {"times": len(entries)} for name, entries in each.media.items()},
        "summary": {name: value for name, value in run.summary.items() if name.startswith("final/")},
        "artifacts": run.artifacts,
        "finished": run.exit_code is not None,
        "faults": each.faults,
    }


def as_text(found: list[Shown]) -> str:
    """All runs, laid out for reading."""
    return "\n\n".join("\n".join(_lines(each)) for each in found)


def _lines(each: Shown) -> list[str]:
    run = each.run
    where = "/".join(part for part in (run.entity, run.project, run.group) if part)
    ended = "" if run.exit_code is not None else ", not finished"
    lines = [f"{run.name}  ({where}, tags: {', '.join(run.tags)}{ended})", f"  {each.folder}"]
    for name, points in each.curves.items():
        lines.append(
            f"  curve    {name:<32} {len(points):>6} points to step {points[-1][0]:,}, last {_short(points)}"
        )
    for name, entries in each.media.items():
        last = entries[-1]
        if "nrows" in last:
            lines.append(f"  table    {name:<32} {last['nrows']:>6} rows, {last['ncols']} columns")
        else:
            lines.append(f"  media    {name:<32} {last.get('size', 0):>6,} bytes, {last['_type']}")
    lines += [f"  artifact {name}" for name in run.artifacts]
    return lines + [f"  FAULT    {fault}" for fault in each.faults]


def _short(points: list[tuple[float, Any]]) -> str:
    value = points[-1][1]
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
