"""What a run takes of memory and disk: what is counted exactly, what is measured here, and what is estimated."""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, create_empty_array
from torch import nn

from ...agents.agent import Store
from ...agents.storage.frame_ring import LARGEST_STACK, stacked_frames
from ...envs.backends.action_log import MOST_BYTES
from ...envs.machine import usable_memory
from ...envs.vector import Envs
from ...networks.torso import Torso
from ...networks.tree import tree_leaves, tree_map
from .planning import store_option

# Linux counts the time of processes in these (USER_HZ), whatever its own clock does.
TICKS_A_SECOND = 100
# What compiling an update adds to a process on a CPU (torch 2.13), apart from the compiler's own processes.
COMPILING = 110_000_000
# What a run imports later than this is counted: matplotlib, which draws its learning curve.
IMPORTED_LATER = 40_000_000
# A row of metrics, a row of evaluations: lines of JSON with about twenty numbers.
ROW_BYTES = 600
# The two last checkpoints are kept while a third is written.
CHECKPOINTS = 3


class Footprint(NamedTuple):
    """What a run takes."""

    stores: list[Store]
    """Steps that are kept in memory."""
    networks: int
    """Bytes of the networks and what belongs to them."""
    checkpoint: int
    """Bytes of a checkpoint at the end; 0 where there are none."""
    updates: int = 0
    """Bytes of what an update computes on its way, estimated."""
    action: int = 8
    """Bytes of an action."""
    environments: int = 0
    """Bytes that making the environments took, those of their processes included; measured."""
    more: tuple[tuple[str, int], ...] = ()
    """What else is kept: names and bytes."""


def filled_bytes(stores: Iterable[Store], steps: int) -> int:
    """Bytes of what a run of so many steps fills."""
    return sum(round(store.num_bytes * min(1.0, steps / store.steps)) for store in stores)


def most_frames(space: spaces.Space) -> int:
    """How many frames observations of a space stack at most."""
    stacked = isinstance(space, spaces.Box) and len(space.shape) >= 3 and 2 <= space.shape[0] <= LARGEST_STACK
    return space.shape[0] if stacked else 1  # type: ignore[index]


def frames_of(envs: Envs) -> int:
    """How many frames observations stack, of which replays keep each one once; found by a step."""
    if most_frames(envs.observation_space) == 1:
        return 1
    obs, actions = envs.reset(), batch_space(envs.action_space, envs.num_envs)
    actions.seed(0)
    return stacked_frames(obs, envs.step(tree_map(np.asarray, actions.sample())).next_obs)


@torch.no_grad()
def update_bytes(
    parts: Mapping[str, Any], space: spaces.Space, batch_size: int, stores: Iterable[Store]
) -> int:
    """Bytes of what the networks among an agent's parts compute in an update, and of their gradients; estimated.

    What each layer computes is counted on two observations.
    """
    modules = (module for part in parts.values() if isinstance(part, nn.Module) for module in part.modules())
    torsos = {id(module): module for module in modules if isinstance(module, Torso)}
    obs = tree_map(lambda x: torch.from_numpy(np.array(x)), create_empty_array(space, n=2))
    total = 0
    for torso in torsos.values():
        device = next(iter(torso.parameters()), torch.empty(0)).device
        there = tree_map(lambda x, device=device: x.to(device), obs)
        total += computed_bytes(torso, partial(torso.single_step, there))
        # Encoders compute in float32 what pictures have as bytes.
        total += sum(4 * leaf.numel() for leaf in tree_leaves(obs))
    rows = max([batch_size, *(store.at_once for store in stores)])
    return 2 * rows * total // 2


def computed_bytes(module: nn.Module, call: Callable[[], Any]) -> int:
    """Bytes that the layers of a module compute in a call of it."""
    sizes: list[int] = []

    def count(layer: nn.Module, arguments: Any, output: Any) -> None:
        leaves = output if isinstance(output, tuple) else (output,)
        # What only passes through is not counted twice.
        new = (leaf for leaf in leaves if not any(leaf is given for given in arguments))
        sizes.extend(leaf.nbytes for leaf in new if isinstance(leaf, torch.Tensor))

    layers = [layer for layer in module.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    call()
    for hook in hooks:
        hook.remove()
    return sum(sizes)


def resident_memory(process: str = "self") -> int:
    """Bytes of memory that a process holds; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError):  # no Linux, or it has ended
        return 0
    return pages * mmap.PAGESIZE


def cpu_seconds_of(process: str = "self") -> float:
    """Seconds that CPU cores have worked for a process; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        # The name, in brackets, is the second field of the line; user and system time are the 14th and 15th.
        ticks = int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):  # no Linux, or it has ended
        return 0.0
    return ticks / TICKS_A_SECOND


def family_memory(process: str = "self") -> int:
    """Bytes that a process holds, and all that it has begun, and those have begun."""
    total, waiting = 0, [process]
    while waiting:
        process = waiting.pop()
        total += resident_memory(process)
        for task in _entries(Path(f"/proc/{process}/task")):
            with suppress(OSError):
                waiting += (task / "children").read_text(encoding="utf-8").split()
    return total


def _entries(folder: Path) -> Iterable[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def run_resources(
    taken: Footprint, *, steps: int, rows: int, program: int, evaluation: float, compiled: bool
) -> dict[str, str]:
    """Memory and disk by what takes them, in words, with their sums.

    Args:
        taken: by agent and environments.
        steps: environment steps of the whole run.
        rows: rows of metrics and evaluations that it writes.
        program: bytes of the process with all that it has imported so far.
        evaluation: copies of the environment that an evaluation makes, in units of those of training.
        compiled: whether updates are compiled.
    """
    memory = {
        "program": program + IMPORTED_LATER,
        "environments": taken.environments,
        "networks": taken.networks,
        **{store_option(store): store.num_bytes for store in taken.stores},
        **dict(taken.more),
        "updates": taken.updates,
        "compiling": COMPILING if compiled else 0,
        "evaluation": int(taken.environments * evaluation),
        # One episode may go on for the whole run.
        "log of actions, at most": min(MOST_BYTES, steps * taken.action),
    }
    # Room for a replay is taken as it is filled.
    empty = sum(store.num_bytes for store in taken.stores) - filled_bytes(taken.stores, steps)
    disk = {"checkpoints": CHECKPOINTS * taken.checkpoint, "metrics": rows * ROW_BYTES}
    here = usable_memory()
    return {
        **{
            name: in_mb(size) for name, size in memory.items() if size or name in ("networks", "environments")
        },
        "memory in all": in_mb(sum(memory.values()) - empty),
        "memory here": "unknown" if here is None else in_mb(here),
        **{name: in_mb(size) for name, size in disk.items()},
        "disk in all": in_mb(sum(disk.values())),
        "disk here": in_mb(shutil.disk_usage(Path.cwd()).free),
    }


def config_names(config: Any) -> dict[str, Any]:
    """What is chosen for a run, by the names that a plan begins with."""
    names = "agent env steps num_envs backend encoder memory auxiliary device threads compile"
    return {name: getattr(config, name) for name in names.split()}


def in_mb(num_bytes: float) -> str:
    """Bytes as people compare them."""
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes < 1e10 else f"{num_bytes / 1e9:,.1f} GB"
