"""Cells and counts, against numbers computed by hand."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array

from palaestra.training.rewards.count import Count, CountConfig
from palaestra.training.rewards.visits import Visits, rounded, simhash

from .steps import NESTED, SPACES, VECTOR, one_step, setting


def test_numbers_are_rounded_to_the_nearest_cell():
    """With cells of 0.5: 0.24 -> 0, 0.25 -> 1 (halves upwards), -0.26 -> -1, -0.25 -> 0."""
    obs = np.array([[0.24, 0.25], [-0.26, -0.25]], np.float32)
    assert rounded(obs, 0.5).view(np.int64).tolist() == [[0, 1], [-1, 0]]


def test_projections_keep_their_signs():
    """Row (1, 3) is (-1, 1) without its mean: projections -1, 1, 2 -> bits 0 1 1 -> byte 0b01100000."""
    matrix = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 1.0]], np.float32)
    assert simhash(np.array([[1, 3]], np.uint8), matrix).tolist() == [[0b01100000]]
    # What is the same but for its brightness is the same cell.
    assert (
        simhash(np.array([[5, 7]], np.uint8), matrix) == simhash(np.array([[1, 3]], np.uint8), matrix)
    ).all()


@pytest.mark.parametrize(
    ("space", "obs"),
    [
        (spaces.Discrete(3), [0, 1, 2]),
        (spaces.Box(-9, 9, ()), [0.0, 1.0, 2.0]),
        (spaces.Box(-9, 9, (2,)), [[0.0, 1.0], [0.0, 2.0], [1.0, 2.0]]),
    ],
    ids=["a choice", "a number", "two numbers"],
)
def test_one_or_two_numbers_are_never_projected(space, obs):
    """Less their mean, all of them would be one or two cells."""
    visits = Visits(space, "simhash", 0.1, 32, seed=0)
    assert visits.add(np.array(obs, space.dtype)).tolist() == [1, 1, 1]


def test_visits_are_counted():
    visits = Visits(VECTOR, "auto", 0.1, 32, seed=0)
    here, there = np.zeros(3, np.float32), np.full(3, 0.5, np.float32)
    assert visits.add(np.stack([here, there, here])).tolist() == [1, 1, 2]
    assert visits.add(np.stack([here, here + 0.04])).tolist() == [3, 4]
    assert len(visits) == 2


def test_bytes_and_choices_are_exact_unless_they_are_pictures():
    bytes_ = Visits(spaces.Box(0, 255, (4,), np.uint8), "auto", 100.0, 32, seed=0)
    assert bytes_.add(np.array([[0, 0, 0, 0], [0, 0, 0, 1]], np.uint8)).tolist() == [1, 1]
    choices = Visits(spaces.Discrete(3), "auto", 100.0, 32, seed=0)
    assert choices.add(np.array([0, 1, 1])).tolist() == [1, 1, 2]
    pictures = Visits(SPACES["picture"], "cells", 100.0, 32, seed=0)
    assert pictures.add(np.eye(2, 192, dtype=np.uint8).reshape(2, 8, 8, 3)).tolist() == [1, 1]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_cell_of_an_observation_does_not_depend_on_its_batch(space):
    visits = Visits(space, "auto", 0.1, 64, seed=0)
    space.seed(0)
    rows = [space.sample() for _ in range(4)]
    keys = [visits.keys(_batch(space, [row]))[0] for row in rows]
    assert len(set(keys)) == 4
    assert visits.keys(_batch(space, rows)) == keys


def _batch(space, rows):
    return concatenate(space, rows, create_empty_array(space, len(rows)))


def test_one_part_of_a_dict_is_enough():
    visits = Visits(NESTED, "auto", 0.1, 32, seed=0)
    NESTED.seed(0)
    row = NESTED.sample()
    other = {**row, "parts": (row["parts"][0] % 3 + 1,)}
    assert len(set(visits.keys(_batch(NESTED, [row, other])))) == 2


def test_counts_survive():
    visits = Visits(VECTOR, "auto", 0.1, 32, seed=0)
    obs = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    visits.add(obs)
    fresh = Visits(VECTOR, "auto", 0.1, 32, seed=0)
    fresh.load_state_dict(visits.state_dict())
    assert fresh.counts == visits.counts
    assert fresh.add(obs).tolist() == visits.add(obs).tolist()


def test_the_bonus_of_the_nth_visit():
    """1, 1 / sqrt(2), 1 / sqrt(3) times the scale; 0.5 falls to 0 over the run of 1000 steps."""
    source = Count(CountConfig(scale="linear(0.5, 0)"), setting(num_envs=2))
    obs = np.zeros((2, 3), np.float32)
    reward, metrics = source.reward(one_step(obs))
    assert reward == pytest.approx(0.5 * (1 - 2 / 1000) * np.array([1, 2**-0.5]))
    assert metrics == {"bonus/mean": pytest.approx(reward.mean()), "bonus/coverage": 1.0}
    reward, _ = source.reward(one_step(obs, valid=[False, True]))
    assert reward == pytest.approx([0, 0.5 * (1 - 3 / 1000) * 3**-0.5])
    assert source.reward(one_step(obs, valid=[False, False]))[1] == {}


def test_only_the_first_visit_of_an_episode_pays():
    """From 0 to 1 to 0 to 1 and 2: 1 pays 1, 0 nothing (it began there), 1 nothing the second time, 2 pays 1.

    A new episode in 0 is paid for its third visit to 1, 1 / sqrt(3), whatever the other environment does.
    """
    source = Count(CountConfig(scale=1.0, first_visits=True), setting(num_envs=2))

    def go(one, other, to, then, first=False, valid=(True, True)):
        obs, next_obs = (np.array([[x] * 3 for x in pair], np.float32) for pair in ((one, other), (to, then)))
        return source.reward(one_step(next_obs, obs=obs, first=[first, False], valid=list(valid)))[0].tolist()

    assert go(0, 0, 1, 0, first=True, valid=(True, False)) == [1, 0]
    assert go(1, 0, 0, 0, valid=(True, False)) == [0, 0]
    assert go(0, 0, 1, 0, valid=(True, False)) == [0, 0]
    assert go(1, 0, 2, 0, valid=(True, False)) == [1, 0]
    # The other comes to 0, which has been visited once, and not in its episode.
    assert go(0, 5, 1, 0, first=True) == pytest.approx([3**-0.5, 2**-0.5])
    assert go(1, 0, 0, 0) == [0, 0]
