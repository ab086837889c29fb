"""Values that change over a run, and whether a run is long enough to learn anything."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

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


def check_schedules(config: object, *names: str, minimum: float = 0.0, maximum: float = math.inf) -> None:
    """Raise a ValueError for a schedule field that cannot be read, or goes below `minimum` or above `maximum`."""
    for name in names:
        for progress in (0.0, 1.0):
            try:
                value = scheduled(getattr(config, name), progress)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if not value >= minimum:
                raise ValueError(f"{name}: must stay >= {minimum:g}, got {getattr(config, name)}")
            if value > maximum:
                raise ValueError(f"{name}: must stay <= {maximum:g}, got {getattr(config, name)}")


class Obstacle(NamedTuple):
    """Why an agent would learn nothing in a run."""

    option: str
    """Field of its config."""
    largest: int | None
    """Largest value with which it learns; None where none does."""
    steps_needed: int
    """Environment steps in which it learns with the value that there is."""


def replay_obstacle(
    learning_starts: int, train_every: int, total_steps: int, num_envs: int
) -> Obstacle | None:
    """Whether a run of `total_steps` is over before the first update that comes after `learning_starts`."""
    last = -(-total_steps // num_envs) * num_envs

    def reached(multiple: int) -> int:
        """Step that is the first to reach a multiple of `train_every`."""
        return -(-multiple * train_every // num_envs) * num_envs

    latest = reached(last // train_every)
    if latest > 0 and learning_starts < latest:
        return None
    # The warm-up ends with the first step beyond it; an update may be due in that very step.
    after = (learning_starts // num_envs + 1) * num_envs
    multiple = max(1, (after - num_envs) // train_every + 1)
    needed = max(after, reached(multiple))
    if not latest:
        return Obstacle("train_every", last, needed)
    return Obstacle("learning_starts", latest - 1, needed)
