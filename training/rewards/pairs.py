"""Pairs of observations, within reach of each other or not, out of trajectories."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .visits import one_over_visits

Places = tuple[np.ndarray, np.ndarray]
"""`(time [N], column [N])` of steps in arrays `[T, B]`."""
# Drawn for each pair that is wanted: many lie in two pieces, or in none.
ATTEMPTS = 8


class Pairs(NamedTuple):
    """Places of two observations each, and whether the second is within reach of the first."""

    earlier: Places
    later: Places
    reachable: np.ndarray
    """`[N]` float32, 1 or 0."""

    def part(self, chosen: slice) -> Pairs:
        """Some of them."""
        (time, column), (then, there), reachable = self
        return Pairs((time[chosen], column[chosen]), (then[chosen], there[chosen]), reachable[chosen])


def draw_pairs(
    piece: np.ndarray,
    count: int,
    near: int,
    far: int,
    generator: np.random.Generator,
    *,
    within: float = 1.0,
    cell: np.ndarray | None = None,
) -> Pairs | None:
    """Draw up to `count` pairs, every other one reachable; None where there are none of one kind.

    Args:
        piece: `[T, B]` of consecutive steps: pieces of trajectories by number, -1 where nothing is to be drawn.
        count: of the pairs.
        near: reachable are 1 to so many steps.
        far: unreachable is what is more than so many steps later in the same piece.
        generator: draws them.
        within: share of the unreachable pairs that are such; the others, and those that are not found because pieces
            are short, are any two that are not within `far` steps of each other in one piece.
        cell: `[T, B]` names of places. With them steps are drawn evenly from all places, however often one was visited
            (the second of two in one piece follows from the first), and no place is out of reach of itself.
    """
    steps, half = Steps(piece, cell), count // 2
    if not steps.known.any():
        return None
    one, other = steps.in_one_piece(half, 1, near, generator)
    apart, far_off = steps.in_one_piece(round(within * half), far + 1, len(piece) - 1, generator)
    rest = steps.anywhere(half - len(apart[0]), far, generator)
    apart, far_off = _joined(apart, rest[0]), _joined(far_off, rest[1])
    size = min(len(one[0]), len(apart[0]))
    if not size:
        return None
    order = generator.permutation(len(apart[0]))[:size]
    earlier = _alternating(_part(one, slice(size)), _part(apart, order))
    later = _alternating(_part(other, slice(size)), _part(far_off, order))
    return Pairs(earlier, later, np.tile(np.array([1.0, 0.0], np.float32), size))


class Steps:
    """Steps `[T, B]` of some pieces, whose cells may be known."""

    def __init__(self, piece: np.ndarray, cell: np.ndarray | None):
        self.piece, self.cell, self.known = piece, cell, piece >= 0
        self.ends = None if cell is None else one_over_visits(cell, self.known).ravel().cumsum()

    def draw(self, count: int, generator: np.random.Generator) -> Places:
        """So many steps, evenly from all; with cells evenly from the cells of those in pieces."""
        if self.ends is None:
            time, column = (generator.integers(0, size, count) for size in self.piece.shape)
            return time, column
        at = np.searchsorted(self.ends, generator.random(count) * self.ends[-1], "right")
        return at // self.piece.shape[1], at % self.piece.shape[1]

    def in_one_piece(
        self, count: int, least: int, most: int, generator: np.random.Generator
    ) -> tuple[Places, Places]:
        """At most `count` pairs in one piece, `least` to `most` steps apart."""
        if most < least:
            count, most = 0, least
        gap = generator.integers(least, most + 1, count * ATTEMPTS)
        time, column = self.draw(count * ATTEMPTS, generator)
        then = np.minimum(time + gap, len(self.piece) - 1)
        one, other = (time, column), (then, column)
        fits = (then == time + gap) & self.known[one] & (self.piece[one] == self.piece[other])
        return self._kept(count, one, other, fits, apart=least > 1)

    def anywhere(self, count: int, far: int, generator: np.random.Generator) -> tuple[Places, Places]:
        """At most `count` pairs of different pieces, or more than `far` steps apart."""
        one, other = (self.draw(count * ATTEMPTS, generator) for _ in range(2))
        distant = (np.abs(one[0] - other[0]) > far) | (one[1] != other[1])
        fits = self.known[one] & self.known[other] & (distant | (self.piece[one] != self.piece[other]))
        return self._kept(count, one, other, fits, apart=True)

    def _kept(
        self, count: int, one: Places, other: Places, fits: np.ndarray, apart: bool
    ) -> tuple[Places, Places]:
        if apart and self.cell is not None:
            fits = fits & (self.cell[one] != self.cell[other])
        kept = np.flatnonzero(fits)[:count]
        return _part(one, kept), _part(other, kept)


def _part(places: Places, chosen: np.ndarray | slice) -> Places:
    return places[0][chosen], places[1][chosen]


def _joined(places: Places, others: Places) -> Places:
    return np.concatenate([places[0], others[0]]), np.concatenate([places[1], others[1]])


def _alternating(places: Places, others: Places) -> Places:
    time, column = (np.stack(each, 1).ravel() for each in zip(places, others, strict=True))
    return time, column
