"""policy.json: what a player must know about an exported policy."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..run.loaded import LoadedRun
from ..settings.typed import plain
from ..settings.usage import UsageError, in_one_line
from .check import Checked, initial_states
from .formats import Format
from .policy import ExportedPolicy

CONTRACT = "policy.json"
BATCH = "the first axis of every input and output, of any length: copies of the environment played together"
MEANINGS = {
    "observation": "what the environment gives, in its type; an input with a key takes that part of the observation",
    "action_mask": "1 where an action is allowed now, 0 where it is not; as the environment gives it",
    "previous_reward": "the reward of the last step, one number for each copy; 0 where first is true",
    "first": "true where the observation opens an episode: there the states are begun anew by the policy itself",
    "state": "initial_state in the first call, then the output of the last call whose input has this name",
    "action": "what the environment executes, in its units, type and bounds; parts with a key make up a dict or tuple",
}
POSITIONS = "inputs are positional, in this order; outputs are a tuple, in this order"
NOT_NUMBERS = "observations must be finite: what is chosen for NaN differs from runtime to runtime"


def contract(
    policy: ExportedPolicy, run: LoadedRun, format: Format, file: Path, checked: Checked
) -> dict[str, Any]:
    """What stands in policy.json."""
    roles = {port.role for port in (*policy.inputs, *policy.outputs)}
    notes = [MEANINGS[role] for role in MEANINGS if role in roles]
    notes += [NOT_NUMBERS] if format == "onnx" else [NOT_NUMBERS, POSITIONS]
    if policy.choice.sampled:
        notes.append("actions are sampled by random operations inside, which nothing has seeded")
    config = run.config
    return {
        "file": file.name,
        "format": format,
        **_ports(policy),
        "batch": BATCH,
        "initial_state": {name: value.tolist() for name, value in initial_states(policy, 1).items()},
        "observation_space": in_one_line(policy.observed.raw_space),
        "action_space": in_one_line(policy.action_space),
        "environment": {
            "id": config.env,
            "kwargs": plain(config.env_kwargs),
            "wrappers": list(config.env_options.wrappers),
        },
        "actions": "sampled from the policy" if policy.choice.sampled else "the best ones",
        "notes": notes,
        "agent": config.agent,
        "encoder": config.encoder,
        "memory": config.memory,
        "steps_trained": run.step,
        "checked": asdict(checked),
        "palaestra": version("palaestra"),
    }


def write_contract(values: dict[str, Any], file: Path) -> None:
    """Write it, an item of a list or mapping to a line, however long."""
    lines = []
    for name, value in values.items():
        if isinstance(value, list) and value:
            inner = ",\n".join(f"    {json.dumps(item)}" for item in value)
            text = f"[\n{inner}\n  ]"
        elif isinstance(value, dict) and value:
            inner = ",\n".join(f"    {json.dumps(key)}: {json.dumps(item)}" for key, item in value.items())
            text = f"{{\n{inner}\n  }}"
        else:
            text = json.dumps(value)
        lines.append(f"  {json.dumps(name)}: {text}")
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def check_place(out: Path, policy: ExportedPolicy) -> None:
    """Raise `UsageError` where the contract beside `out` is that of another file, of which it would no longer be true.

    One run in several formats fits into one folder: what goes in and out is the same.
    """
    beside = out.parent / CONTRACT
    if out.name == CONTRACT:
        raise UsageError(
            f"--out {out}: {CONTRACT} is written beside the policy; give the policy another name"
        )
    if not beside.exists():
        return
    try:
        there = json.loads(beside.read_text(encoding="utf-8"))
        described, same = there["file"], all(there[name] == ports for name, ports in _ports(policy).items())
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{beside} is not about an exported policy; export into a folder of its own"
        ) from None
    if not same and described != out.name and (out.parent / str(described)).exists():
        raise UsageError(
            f"{beside} describes {described}, which has other inputs; export into a folder of its own"
        )


def _ports(policy: ExportedPolicy) -> dict[str, Any]:
    return {
        "inputs": [port.to_dict() for port in policy.inputs],
        "outputs": [port.to_dict() for port in policy.outputs],
    }
