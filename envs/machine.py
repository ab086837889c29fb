"""What of this machine the process may use: cores and memory, as the system and its control groups share them out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Where the system tells of itself; tests have a system of their own.
ROOT = Path("/")


def usable_cores() -> int:
    """Return how many cores this process may use: all, less what its affinity or a container's quota withholds."""
    # macOS and Windows know no affinity.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_cpu_quotas(), default=math.inf)
    return max(1, min(cores, math.ceil(quota))) if quota < math.inf else cores


def usable_memory() -> int | None:
    """Return how many bytes this process may use: the machine's, or its control group's; None where nobody tells."""
    limits = [*_memory_limits()]
    if hasattr(os, "sysconf"):  # all but Windows
        with suppress(ValueError, OSError):
            limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min((limit for limit in limits if limit > 0), default=None)


def _cpu_quotas() -> Iterator[float]:
    """Cores that each control group above this process may fill."""
    for folder in _control_groups("cpu"):
        # Version 2 has both in one file, version 1 in two.
        old = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
        match _numbers(folder / "cpu.max") or old:
            case [quota, period] if quota > 0 and period > 0:
                yield quota / period


def _memory_limits() -> Iterator[int]:
    """Bytes that each control group above this process may hold; those without a limit say a huge number."""
    for folder in _control_groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            yield from _numbers(folder / name)[:1]


def _control_groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, each with all above it, for a controller.

    In a container the path is often that of the machine, of which only the top is to be seen.
    """
    try:
        lines = (ROOT / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        mounts = [controllers, controller] if controller in controllers.split(",") else []
        for mount in [""] if number == "0" and not controllers else dict.fromkeys(mounts):
            top = ROOT / "sys/fs/cgroup" / mount
            group = top / path.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _numbers(path: Path) -> list[int]:
    """Whole numbers in a file, none where it says `max` or is not there."""
    try:
        words = path.read_text(encoding="utf-8").split()
        return [int(word) for word in words]
    except (OSError, ValueError):
        return []
