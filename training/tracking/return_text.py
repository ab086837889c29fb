"""Returns of episodes as people read them."""

from __future__ import annotations

from collections.abc import Sequence

# Of tasks that pay once, such as MiniGrid's, 0.96 is not 1.0.
SMALL = 10


def return_digits(*returns: float) -> int:
    """Decimals that returns are shown to, the same for all that stand together: two where all are small, else one."""
    return 2 if all(abs(each) < SMALL for each in returns) else 1


def return_text(value: float) -> str:
    """A return by itself: 237.4, or 0.96."""
    return f"{value:.{return_digits(value)}f}"


def return_texts(*returns: float) -> list[str]:
    """Returns that stand together, such as a mean and its extremes."""
    digits = return_digits(*returns)
    return [f"{each:.{digits}f}" for each in returns]


def spread_texts(returns: Sequence[float]) -> list[str]:
    """Mean of the returns of several seeds, their deviation, the least and the most."""
    mean = sum(returns) / len(returns)
    deviation = (sum((each - mean) ** 2 for each in returns) / len(returns)) ** 0.5
    return return_texts(mean, deviation, min(returns), max(returns))
