"""Processes of one machine that share memory: threads in their place."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from palaestra.training.parallel import neighbours
from palaestra.training.parallel.neighbours import meet_neighbours


class Told:
    """Gathers among threads."""

    def __init__(self, size):
        self.values, self.barrier = [None] * size, threading.Barrier(size)

    def gather(self, rank):
        def gather(value):
            self.values[rank] = value
            self.barrier.wait(10)
            values = list(self.values)
            self.barrier.wait(10)
            return values

        return gather


def together(size, work):
    """What `work(rank, neighbours)` returns in each of `size` threads."""
    told = Told(size)

    def run(rank):
        found = meet_neighbours(rank, size, told.gather(rank), 10)
        return work(rank, found)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


@pytest.fixture(autouse=True)
def where(tmp_path, monkeypatch):
    """Nothing is left of what is shared."""
    monkeypatch.setattr(neighbours, "SHARED_MEMORY", tmp_path)
    # As many turns as with vectors of millions of numbers.
    monkeypatch.setattr(neighbours, "CAPACITY", 64)
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [2, 3])
def test_sums_of_all_in_their_order(where, size):
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1; vectors of 40 numbers take three turns of 16."""
    given = [np.random.default_rng(rank).standard_normal((5, 40)).astype(np.float32) for rank in range(size)]

    def work(rank, found):
        assert rank > 0 or list(where.iterdir()) == []
        mine = given[rank].copy()
        for row in mine:
            found.add_up(row)
        found.close()
        return mine

    expected = given[0].copy()
    for other in given[1:]:
        expected += other
    for sums in together(size, work):
        np.testing.assert_array_equal(sums, expected)


def test_what_each_has_given_whatever_its_length():
    """56 bytes fit into a turn; sums and gathers follow each other."""
    given = [[b"", b"a" * 1000, b"b"], [b"c" * 56, b"", b""], [b"d" * 57, b"e" * 112, b"f" * 200]]

    def work(rank, found):
        one = np.ones(1, np.float32)
        got = []
        for data in given[rank]:
            got.append(found.gather(data))
            found.add_up(one)
        found.close()
        return got, float(one[0])

    for got, product in together(3, work):
        assert got == [list(row) for row in zip(*given, strict=True)]
        assert product == 27


@pytest.mark.parametrize("hears", [True, False])
def test_nobody_waits_for_one_that_has_ended(hears):
    """As the kernel closes the bells of a process that is killed: before it is rung at, or after."""

    def work(rank, found):
        one = np.ones(1, np.float32)
        found.add_up(one)
        if rank == 1:
            found.bells[0].shutdown(socket.SHUT_WR if hears else socket.SHUT_RDWR)
        else:
            with pytest.raises(EOFError, match="has ended"):
                for _ in range(2):
                    found.add_up(one.copy())
        return float(one[0]), found

    for value, found in together(2, work):
        found.close()
        assert value == 2


def test_one_that_does_not_come_is_waited_for_no_longer_than_said():
    def work(rank, found):
        if rank == 1:
            return found
        found.bells[0].settimeout(0.1)
        with pytest.raises(EOFError, match="does not come"):
            found.add_up(np.ones(1, np.float32))
        return found

    for found in together(2, work):
        found.close()


@pytest.mark.parametrize("what", ["_make_memory", "_listen", "_connect"])
def test_where_it_cannot_be_all_do_without(monkeypatch, what):
    original = getattr(neighbours, what)

    def fail(*arguments):
        if what == "_make_memory" or threading.current_thread().name.endswith("1"):
            raise OSError("no room")
        return original(*arguments)

    monkeypatch.setattr(neighbours, what, fail)
    monkeypatch.setattr(neighbours, "SECONDS_TO_CONNECT", 0.2)
    assert together(3, lambda rank, found: found) == [None] * 3
