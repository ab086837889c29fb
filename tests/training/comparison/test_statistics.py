"""Statistics by hand, and beside rliable's values for the same scores."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from palaestra.training.comparison import statistics
from palaestra.training.comparison.statistics import (
    AGGREGATES,
    estimate,
    first_reaching,
    mean,
    mean_curve,
    mean_interval,
    median,
    normalized,
    optimality_gap,
    performance_profile,
    pooled_interquartile_mean,
    probability_of_improvement,
    verdict,
)

RLIABLE = json.loads((Path(__file__).parent / "rliable.json").read_text())
# Runs of each environment, by environment, of two agents.
SCORES = {name: dict(enumerate(map(np.array, each))) for name, each in RLIABLE["scores"].items()}


def by_env(*groups):
    return {index: np.array(group, float) for index, group in enumerate(groups)}


def test_statistics_by_hand():
    scores = by_env([0.0, 0.2, 0.4, 0.6], [0.5, 1.0, 1.5, 3.0])
    assert estimate(mean, scores).value == pytest.approx((0.3 + 1.5) / 2)
    assert estimate(median, scores | {2: np.array([0.9])}).value == pytest.approx(0.9)
    # 0 0.2 [0.4 0.5 0.6 1] 1.5 3
    assert estimate(pooled_interquartile_mean, scores).value == pytest.approx(2.5 / 4)
    # 1 - (0 + 0.2 + 0.4 + 0.6 + 0.5 + 1 + 1 + 1) / 8
    assert estimate(optimality_gap, scores).value == pytest.approx(1 - 4.7 / 8)


@pytest.mark.parametrize("name", AGGREGATES)
def test_every_environment_counts_the_same_whatever_its_number_of_runs(name):
    once, twice = by_env([0, 1], [4, 5, 6, 7]), by_env([0, 1, 0, 1], [4, 5, 6, 7])
    assert estimate(AGGREGATES[name], once).value == estimate(AGGREGATES[name], twice).value
    assert estimate(pooled_interquartile_mean, once).value == (1 + 1 + 4 + 5) / 4


def test_probability_of_improvement_by_hand():
    # 3 beats 1 and ties 3, 2 beats 1: 2.5 of 4. The second environment is a tie, the third is of one agent only.
    ours, theirs = by_env([3, 2], [1, 1, 1], [9]), by_env([1, 3], [1, 1, 1])
    assert probability_of_improvement(ours, theirs).value == (2.5 / 4 + 0.5) / 2
    assert probability_of_improvement(theirs, ours).value == 1 - (2.5 / 4 + 0.5) / 2


def test_a_performance_profile_by_hand():
    shares = performance_profile(by_env([0.1, 0.5, 0.5], [1]), np.array([0.0, 0.5, 1.0])).value
    assert shares.tolist() == [1.0, (0 + 1) / 2, 0.0]


def judged(first, second):
    return verdict(probability_of_improvement(first, second), first, second)


def test_a_worse_agent_is_worse_and_an_identical_one_a_tie():
    generator = np.random.default_rng(0)
    good = by_env(*(generator.normal(1.0, 0.1, 10) for _ in range(4)))
    bad = {env: runs - 0.2 for env, runs in good.items()}
    assert judged(bad, good) == "worse" and judged(good, bad) == "better"
    assert probability_of_improvement(good, good).value == 0.5 and judged(good, good) == "tie"
    assert judged(by_env([3.0] * 5), by_env([3.0] * 5)) == "tie"
    assert estimate(pooled_interquartile_mean, bad).high < estimate(pooled_interquartile_mean, good).low


def test_few_runs_make_no_interval_and_no_verdict():
    two, three, four = by_env([1, 2]), by_env([1, 2, 3]), by_env([1, 2, 3, 4])
    worse = by_env([0, 0, 0, 0])
    assert estimate(mean, two) == (1.5, None, None)
    assert (
        probability_of_improvement(two, worse) == (1.0, None, None) and judged(two, worse) == "too few runs"
    )
    assert mean_curve(np.ones((2, 1))).low is None
    assert performance_profile(two, np.zeros(1)).low is None
    assert probability_of_improvement(three, worse) == (1.0, 1.0, 1.0)
    assert judged(three, worse) == "too few runs"
    assert judged(four, worse) == "better"
    # Three in each of two environments are six.
    assert judged(three | {1: three[0].copy()}, worse | {1: worse[0].copy()}) == "better"


def test_runs_that_meet_several_others_are_drawn_once():
    """Copies of one opponent say nothing that one does not."""
    generator = np.random.default_rng(4)
    ours, theirs = generator.normal(0.3, 1, 6), generator.normal(0, 1, 6)
    once = {0: ours}, {0: theirs}
    often = dict.fromkeys(range(8), ours), dict.fromkeys(range(8), theirs)
    alone, together = (probability_of_improvement(*sides) for sides in (once, often))
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    np.testing.assert_allclose(estimate(mean, often[0]), estimate(mean, once[0]), rtol=0.05)
    # Other opponents are other runs.
    others = {env: theirs.copy() for env in range(8)}
    narrower = probability_of_improvement(often[0], others)
    assert alone.low < narrower.low and narrower.high < alone.high
    # Three runs do not become four by meeting twice.
    three, worse = np.arange(3.0), np.full(4, -1.0)
    assert judged({0: three, 1: three}, {0: worse, 1: worse.copy()}) == "too few runs"


@pytest.mark.parametrize("scores", [by_env([1.0, math.nan]), by_env([]), by_env([math.inf]), {}])
def test_a_score_that_is_none_is_an_error(scores):
    with pytest.raises(ValueError, match="finite"):
        estimate(mean, scores)


def test_the_same_scores_give_the_same_interval():
    assert estimate(mean, SCORES["x"]) == estimate(mean, SCORES["x"])
    assert estimate(mean, SCORES["x"], seed=1) != estimate(mean, SCORES["x"])


def test_reaching_a_threshold():
    assert first_reaching([10, 20, 30], [0, 5, 7], 5) == 20
    assert first_reaching([10, 20, 30], [0, 5, 7], 8) == math.inf
    assert normalized(np.array([-200.0, -100.0, -50.0]), -200, -100).tolist() == [0.0, 1.0, 1.5]


# An end of an interval is a quantile p of R resamples. Its standard error is sqrt(p (1 - p) / R) over the density
# there, for a normal distribution sqrt(0.025 * 0.975 / R) / 0.0584 deviations; the interval is 3.92 of them wide.
def error(repeats):
    return math.sqrt(0.025 * 0.975 / repeats) / 0.0584 / 3.92


def assert_intervals_agree(ours, theirs, repeats):
    low, high = theirs
    allowed = 4 * math.hypot(error(statistics.REPEATS), error(repeats)) * (high - low)
    assert ours[0] == pytest.approx(low, abs=allowed)
    assert ours[1] == pytest.approx(high, abs=allowed)


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("who", ["x", "y"])
def test_aggregates_agree_with_rliable(name, who):
    value, low, high = RLIABLE[name][who]
    ours = estimate(AGGREGATES[name], SCORES[who])
    assert ours.value == pytest.approx(value, abs=1e-12)
    assert_intervals_agree(ours[1:], (low, high), RLIABLE["repeats"])


def test_probability_of_improvement_agrees_with_rliable():
    value, low, high = RLIABLE["probability of improvement"]
    ours = probability_of_improvement(SCORES["x"], SCORES["y"])
    assert ours.value == pytest.approx(value, abs=1e-12)
    assert_intervals_agree(ours[1:], (low, high), 2000)


@pytest.mark.parametrize("who", ["x", "y"])
def test_performance_profiles_agree_with_rliable(who):
    value, low, high = map(np.array, RLIABLE["profile"][who])
    ours = performance_profile(SCORES[who], np.array(RLIABLE["profile"]["thresholds"]))
    assert np.allclose(ours.value, value, atol=1e-12)
    # Shares come in steps: the ends may differ by one run.
    step = 1 / sum(map(len, SCORES[who].values())) + 1e-12
    assert np.abs(ours.low - low).max() <= step and np.abs(ours.high - high).max() <= step


def test_intervals_hold_the_truth():
    """For the mean of ten normal scores they do in 89 % of cases: three standard errors of 300 are 5 %."""
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        found = mean_interval(generator.normal(0, 1, 10))
        held += found.low <= 0 <= found.high
    assert 0.84 <= held / 300 <= 0.94
