import numpy as np
import pytest

from palaestra.agents.storage.sum_tree import SumTree


@pytest.mark.parametrize("capacity", [1, 2, 15, 16, 17, 255, 257, 5000])
def test_sums_and_searches_equal_brute_force(capacity):
    """Random updates, with repeated indices and zeros, against a plain array and its cumulative sum."""
    generator = np.random.default_rng(capacity)
    tree, plain = SumTree(capacity), np.zeros(capacity)
    for _ in range(50):
        indices = generator.integers(0, capacity, generator.integers(1, 20))
        # Small integers are summed without rounding, so that the comparison is exact.
        priorities = generator.integers(0, 4, len(indices)).astype(float)
        tree.set(indices, priorities)
        for index, priority in zip(indices, priorities, strict=True):
            plain[index] = priority
        assert tree.total == plain.sum()
        np.testing.assert_array_equal(tree.priorities, plain)
        if plain.sum() == 0:
            continue
        positions = generator.random(30) * plain.sum()
        expected = np.searchsorted(plain.cumsum(), positions, side="right")
        np.testing.assert_array_equal(tree.find(positions), expected)


def test_every_position_finds_its_index():
    tree = SumTree(40)
    priorities = np.zeros(40)
    priorities[[3, 4, 16, 39]] = [1, 2, 3, 4]
    tree.set(np.arange(40), priorities)
    found = tree.find(np.array([0.0, 0.99, 1.0, 2.99, 3.0, 5.99, 6.0, 9.99]))
    np.testing.assert_array_equal(found, [3, 3, 4, 4, 16, 16, 39, 39])


def test_a_priority_of_zero_is_never_found():
    """Not even at the very ends, nor where rounding makes the parts and the sum disagree."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        priorities = generator.random(300) * 10.0 ** generator.integers(-12, 12, 300)
        priorities[generator.random(300) < 0.7] = 0
        tree = SumTree(300)
        tree.set(np.arange(300), priorities)
        edges = np.concatenate([priorities.cumsum(), [0.0, tree.total, np.nextafter(tree.total, 0)]])
        assert (priorities[tree.find(edges)] > 0).all()


def test_frequencies_follow_the_priorities():
    tree, generator = SumTree(100), np.random.default_rng(1)
    priorities = generator.random(100)
    tree.set(np.arange(100), priorities)
    found = tree.find(generator.random(200_000) * tree.total)
    frequency = np.bincount(found, minlength=100) / len(found)
    np.testing.assert_allclose(frequency, priorities / priorities.sum(), atol=0.002)


def test_sums_do_not_drift():
    tree, generator = SumTree(64), np.random.default_rng(2)
    for _ in range(5000):
        tree.set(generator.integers(0, 64, 4), generator.random(4) * 1e6)
    tree.set(np.arange(64), 1.0)
    assert tree.total == 64


def test_an_empty_tree_is_refused():
    with pytest.raises(ValueError, match="capacity of at least 1, got 0"):
        SumTree(0)
