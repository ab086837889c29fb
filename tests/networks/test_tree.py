import hashlib

import numpy as np
import pytest

from palaestra.networks.torso import leading_rows
from palaestra.networks.tree import concatenated, fingerprint, tree_leaves, tree_map, write_rows


def test_map_reaches_every_leaf_and_keeps_the_shape():
    tree = {"a": np.arange(2), "b": (np.ones(1), {"c": np.zeros(3)})}
    mapped = tree_map(lambda x: x + 1, tree)
    assert list(mapped) == ["a", "b"] and isinstance(mapped["b"], tuple)
    assert mapped["a"].tolist() == [1, 2]
    assert mapped["b"][0].tolist() == [2] and mapped["b"][1]["c"].tolist() == [1, 1, 1]


def test_map_over_several_trees():
    left, right = {"a": 1, "b": (2, 3)}, {"b": (20, 30), "a": 10}
    assert tree_map(lambda x, y: x + y, left, right) == {"a": 11, "b": (22, 33)}


def test_map_over_one_array_is_a_call():
    assert tree_map(lambda x, y: x * y, 3, 4) == 12


def test_trees_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="zip"):
        tree_map(lambda x, y: x, (1, 2), (1, 2, 3))
    with pytest.raises(KeyError):
        tree_map(lambda x, y: x, {"a": 1}, {"b": 1})


def test_leaves_from_left_to_right():
    assert tree_leaves({"a": 1, "b": (2, {"c": 3}), "d": 4}) == [1, 2, 3, 4]
    assert tree_leaves(5) == [5]


def test_rows_are_written_into_every_leaf():
    tree = {"a": np.zeros(3), "b": (np.zeros((3, 2)),)}
    write_rows(tree, [0, 2], {"b": (np.ones((2, 2)),), "a": np.array([5, 6])})
    assert tree["a"].tolist() == [5, 0, 6] and tree["b"][0].tolist() == [[1, 1], [0, 0], [1, 1]]
    with pytest.raises(ValueError, match="zip"):
        write_rows((np.zeros(2),), 0, (1, 2))


def test_leading_rows():
    assert leading_rows(np.zeros((7, 2))) == 7
    assert leading_rows({"a": (np.zeros((3, 2)), np.zeros(3))}) == 3


def test_trees_are_joined_along_an_axis():
    trees = [{"a": np.full((1, 2), k), "b": (np.full((1, 1), k),)} for k in (1, 2)]
    assert concatenated(trees)["a"].tolist() == [[1, 1], [2, 2]]
    assert concatenated(trees, 1)["a"].tolist() == [[1, 1, 2, 2]]
    assert concatenated(trees)["b"][0].tolist() == [[1], [2]]


def test_a_fingerprint_is_that_of_the_bytes():
    tree = {"a": np.array([1, 2], np.uint8), "b": (np.array([[3], [4]], np.uint8).T,)}
    assert fingerprint(tree) == hashlib.sha256(b"\x01\x02\x03\x04").hexdigest()
    assert fingerprint(tree) != fingerprint({"a": tree["a"]})
