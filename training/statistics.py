"""What some runs say about two agents, and how far to trust it: estimates with stratified bootstrap intervals.

After Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice"
(arXiv:2108.13264). `Scores` are one final score a run, by environment; runs, not episodes, are resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# Final scores of single runs, normalised, by environment: {"CartPole-v1": [N], ...}; numbers of runs may differ.
Scores = Mapping[str, np.ndarray]
# From samples of each environment, `[R, N]`, to R estimates.
Statistic = Callable[[Sequence[np.ndarray]], np.ndarray]

RESAMPLES = 10_000
CONFIDENCE = 0.95
# Fewer runs than this say little: half the possible resamples of 3 runs are among 5 values.
FEW_RUNS = 5


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


def interquartile_mean(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Mean `[R]` of the middle half of all runs of all environments; a quarter, rounded down, is cut at each end."""
    together = np.sort(np.concatenate(samples, axis=1), axis=1)
    cut = together.shape[1] // 4
    return together[:, cut : together.shape[1] - cut].mean(1)


def mean(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Mean `[R]` over environments of their means over runs."""
    return np.mean([sample.mean(1) for sample in samples], axis=0)


def median(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Median `[R]` over environments of their means over runs."""
    return np.median([sample.mean(1) for sample in samples], axis=0)


def optimality_gap(samples: Sequence[np.ndarray]) -> np.ndarray:
    """`mean max(0, 1 - score)` `[R]`, over all runs: how far they fall short of the reference score, 1."""
    together = np.concatenate(samples, axis=1)
    return np.maximum(0, 1 - together).mean(1)


AGGREGATES: dict[str, Statistic] = {
    "interquartile mean": interquartile_mean,
    "median": median,
    "mean": mean,
    "optimality gap": optimality_gap,
}


def estimate(statistic: Statistic, scores: Scores, seed: int = 0) -> Estimate:
    """Return a statistic with its percentile bootstrap interval; runs are resampled within each environment."""
    groups = [np.asarray(values, float) for values in scores.values()]
    generator = np.random.default_rng(seed)
    samples = [resampled(group, generator) for group in groups]
    low, high = interval(statistic(samples))
    return Estimate(float(statistic([group[None] for group in groups])[0]), low, high)


def resampled(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw `[RESAMPLES, N]` with replacement from values `[N]`."""
    return values[generator.integers(0, len(values), (RESAMPLES, len(values)))]


def interval(estimates: np.ndarray) -> tuple[float, float]:
    """Percentiles that hold 95 % of estimates `[R]` between them."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(estimates, [tail, 100 - tail])
    return float(low), float(high)


def probability_of_improvement(first: Scores, second: Scores, seed: int = 0) -> Estimate:
    """Chance that a run of `first` beats one of `second`, ties counted half, averaged over environments of both.

    P(X > Y) = mean over environments of  (1 / N M) sum_ij [x_i > y_j] + [x_i = y_j] / 2
    """
    common = [env for env in first if env in second]
    generator = np.random.default_rng(seed)
    values, estimates = [], []
    for env in common:
        x, y = np.asarray(first[env], float), np.asarray(second[env], float)
        wins = (np.sign(x[:, None] - y) + 1) / 2
        values.append(wins.mean())
        # Resampling runs picks rows and columns of the table of wins, some of them more than once.
        rows, columns = (
            generator.multinomial(len(z), np.full(len(z), 1 / len(z)), RESAMPLES) / len(z) for z in (x, y)
        )
        estimates.append(((rows @ wins) * columns).sum(1))
    low, high = interval(np.mean(estimates, axis=0))
    return Estimate(float(np.mean(values)), low, high)


def verdict(improvement: Estimate) -> str:
    """What a probability of improvement says of the first: better, worse, or a tie as far as these runs tell."""
    if improvement.low > 0.5:
        return "better"
    return "worse" if improvement.high < 0.5 else "tie"


def performance_profile(scores: Scores, thresholds: np.ndarray, seed: int = 0) -> np.ndarray:
    """Share of runs above each of the thresholds `[K]`, and its interval: `[3, K]`, value, low and high.

    Every environment counts alike, however many runs it has.
    """
    groups = [np.asarray(values, float)[:, None] > thresholds for values in scores.values()]
    generator = np.random.default_rng(seed)
    samples = np.mean(
        [
            generator.multinomial(len(group), np.full(len(group), 1 / len(group)), RESAMPLES // 5)
            @ group
            / len(group)
            for group in groups
        ],
        axis=0,
    )
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(samples, [tail, 100 - tail], axis=0)
    return np.stack([np.mean([group.mean(0) for group in groups], axis=0), low, high])


def mean_interval(values: np.ndarray, seed: int = 0) -> Estimate:
    """Mean of runs `[N]` with its bootstrap interval."""
    return estimate(mean, {"": np.asarray(values, float)}, seed)


def normalized(values: np.ndarray, random: float, reference: float) -> np.ndarray:
    """Scores so that a random policy has 0 and the reference 1."""
    return (np.asarray(values, float) - random) / (reference - random)


def first_reaching(steps: Sequence[float], returns: Sequence[float], threshold: float) -> float:
    """Step of the first evaluation at or above a threshold; infinite where there is none."""
    return next((step for step, value in zip(steps, returns, strict=True) if value >= threshold), np.inf)
