"""Statistics of comparisons: by hand, against rliable, and on agents that are known to differ or not."""

import json
from pathlib import Path

import numpy as np
import pytest

from palaestra.training.statistics import (
    AGGREGATES,
    estimate,
    first_reaching,
    interquartile_mean,
    mean,
    median,
    normalized,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    verdict,
)

RLIABLE = json.loads((Path(__file__).parent / "rliable.json").read_text())


def one(*groups):
    return [np.array(group, float)[None] for group in groups]


def test_aggregates_by_hand():
    groups = one([0, 1, 2, 3], [10, 20])
    # All runs: 0 1 2 3 10 20; one is cut at each end.
    assert interquartile_mean(groups) == pytest.approx((1 + 2 + 3 + 10) / 4)
    assert mean(groups) == pytest.approx((1.5 + 15) / 2)
    assert median(one([0, 1], [4, 6], [100, 200])) == pytest.approx(5)
    assert optimality_gap(one([0, 0.5], [2, 1])) == pytest.approx((1 + 0.5) / 4)


def test_probability_of_improvement_by_hand():
    first, second = (
        {"a": np.array([1, 3]), "b": np.array([2.0])},
        {"a": np.array([2, 3]), "b": np.array([1.0])},
    )
    # a: 1 beats neither; 3 beats 2 and ties with 3: 1.5 of 4. b: 1 of 1.
    assert probability_of_improvement(first, second).value == pytest.approx((1.5 / 4 + 1) / 2)


def test_only_environments_of_both_count():
    first = {"a": np.array([1.0, 2]), "only here": np.array([9.0])}
    assert probability_of_improvement(first, {"a": np.array([0.0, 0])}).value == 1


def test_a_worse_agent_is_worse_and_an_identical_one_is_a_tie():
    generator = np.random.default_rng(0)
    good = {env: generator.normal(1, 0.1, 10) for env in "abc"}
    bad = {env: generator.normal(0.7, 0.1, 10) for env in "abc"}
    assert verdict(probability_of_improvement(bad, good)) == "worse"
    assert verdict(probability_of_improvement(good, bad)) == "better"
    same = probability_of_improvement(good, good)
    assert same.value == 0.5 and verdict(same) == "tie"
    assert verdict(probability_of_improvement({"a": np.full(5, 3.0)}, {"a": np.full(5, 3.0)})) == "tie"


@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates_equal_those_of_rliable(name):
    scores = {str(i): np.array(column) for i, column in enumerate(np.array(RLIABLE["first"]).T)}
    found = estimate(AGGREGATES[name], scores)
    value, low, high = RLIABLE[name]
    assert found.value == pytest.approx(value, abs=1e-9)
    # Both intervals are random: 10,000 resamples put their ends within a few hundredths of the spread.
    spread = high - low
    assert found.low == pytest.approx(low, abs=0.06 * spread)
    assert found.high == pytest.approx(high, abs=0.06 * spread)


def test_the_probability_of_improvement_equals_that_of_rliable():
    first, second = (
        {str(i): np.array(column) for i, column in enumerate(np.array(RLIABLE[name]).T)}
        for name in ("first", "second")
    )
    found = probability_of_improvement(first, second)
    value, low, high = RLIABLE["probability of improvement"]
    assert found.value == pytest.approx(value, abs=1e-9)
    assert found.low == pytest.approx(low, abs=0.06 * (high - low))
    assert found.high == pytest.approx(high, abs=0.06 * (high - low))


def test_the_performance_profile_equals_that_of_rliable():
    scores = {str(i): np.array(column) for i, column in enumerate(np.array(RLIABLE["first"]).T)}
    found = performance_profile(scores, np.array(RLIABLE["thresholds"]))
    np.testing.assert_allclose(found[0], RLIABLE["profile"], atol=1e-9)
    assert (found[1] <= found[0]).all() and (found[0] <= found[2]).all()


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Coverage of the mean of 10 runs, which bootstrap intervals of so few fall a little short of."""
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        found = estimate(mean, {"a": generator.normal(0, 1, 10)}, seed=trial)
        hits += found.low <= 0 <= found.high
    assert 0.84 <= hits / 200 <= 0.98


def test_intervals_are_the_same_every_time():
    scores = {"a": np.arange(5.0), "b": np.arange(3.0)}
    assert estimate(interquartile_mean, scores) == estimate(interquartile_mean, scores)
    assert probability_of_improvement(scores, scores) == probability_of_improvement(scores, scores)


def test_small_things_by_hand():
    np.testing.assert_allclose(normalized(np.array([-200, -150, -100]), -200, -100), [0, 0.5, 1])
    assert first_reaching([10, 20, 30], [1, 5, 3], 4) == 20
    assert first_reaching([10, 20], [1, 2], 4) == np.inf
