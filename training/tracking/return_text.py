"""Returns of episodes as people read them."""

from __future__ import annotations

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
    return [f"{each:.{return_digits(*returns)}f}" for each in returns]
