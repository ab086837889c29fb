"""Values that change over a run, and ways to try something new."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

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


def with_random_rows(values: np.ndarray, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Values `[B, A]` with random ones where `rows [B]` is true: so the best of them is a random action.

    A mask that is applied afterwards holds for random actions, too.
    """
    if count := np.count_nonzero(rows):
        values = values.copy()
        values[rows] = generator.random((count, values.shape[1]))
    return values


class CorrelatedNormal:
    """Standard normal noise that remembers: `x_t = c x_{t-1} + sqrt(1 - c^2) n_t`, so every `x_t` is N(0, 1).

    Independent noise averages out where actions must push for a while before anything happens (a car on a hill).
    Each action still has the policy's own distribution; only neighbours in time are alike. Compare Hollenstein et
    al. 2024, "Colored noise in PPO", who find the correlation harmless to the likelihood ratio.
    """

    def __init__(self, correlation: float, generator: np.random.Generator):
        self.correlation = correlation
        self.generator = generator
        self.value = np.zeros(0, np.float32)

    def standard_normal(self, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        """Next values `shape`, of which the first axis counts environments."""
        fresh = self.generator.standard_normal(shape, dtype=np.float32)
        if self.value.shape != shape:
            self.value = fresh
        else:
            self.value = self.correlation * self.value + (1 - self.correlation**2) ** 0.5 * fresh
        return self.value

    def state_dict(self) -> dict[str, np.ndarray]:
        """The last values."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Go on from there."""
        self.value = state["value"]
