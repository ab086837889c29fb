"""Numbers that change over a run."""

from __future__ import annotations

import re
from functools import lru_cache

# A number, or "linear(start, end)" over the whole run, or "linear(start, end, fraction)" over its first part.
Schedule = float | str

_LINEAR = re.compile(r"^linear\(\s*([^,()]+),\s*([^,()]+)(?:,\s*([^,()]+))?\s*\)$")


def scheduled(schedule: Schedule, progress: float) -> float:
    """Value of a schedule when `progress` (0 to 1) of the run is done.

    >>> scheduled("linear(1.0, 0.1, 0.5)", 0.25)
    0.55

    Raises:
        ValueError: the text is neither a number nor `linear(start, end[, fraction])`.
    """
    if not isinstance(schedule, str):
        return float(schedule)
    start, end, fraction = _read_schedule(schedule)
    return start + (end - start) * min(1.0, progress / fraction)


# An agent asks at every step, and reading takes longer than the answer.
@lru_cache
def _read_schedule(schedule: str) -> tuple[float, float, float]:
    """Start, end, and the fraction of the run from one to the other."""
    try:
        match = _LINEAR.match(schedule.strip())
        if match is None:
            return float(schedule), float(schedule), 1.0
        start, end = float(match[1]), float(match[2])
        fraction = float(match[3]) if match[3] else 1.0
        if not 0 < fraction <= 1:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"cannot read schedule {schedule!r}: "
            "write a number, linear(start, end) or linear(start, end, fraction of the run)"
        ) from None
    return start, end, fraction


def check_schedules(config: object, *names: str, minimum: float = 0.0) -> None:
    """Raise a ValueError for a schedule field that cannot be read or goes below `minimum`."""
    for name in names:
        for progress in (0.0, 1.0):
            try:
                value = scheduled(getattr(config, name), progress)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if not value >= minimum:
                raise ValueError(f"{name}: must stay >= {minimum:g}, got {getattr(config, name)}")
