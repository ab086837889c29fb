"""Writes rliable.json: what rliable 1.2.0 says of some random scores. Needs an environment of its own:

python -m venv /tmp/rliable && /tmp/rliable/bin/pip install "rliable==1.2.0" "pandas<3" "setuptools<81"
/tmp/rliable/bin/python tests/training/make_rliable_fixture.py
"""

import json
from pathlib import Path

import numpy as np
from rliable import library, metrics

generator = np.random.default_rng(7)
first = generator.beta(4, 2, (10, 4)).round(4) + np.array([0, 0.1, -0.2, 0.3])
second = generator.beta(3, 2, (8, 4)).round(4) + np.array([0, 0.1, -0.2, 0.3])
thresholds = np.linspace(0, 1.2, 13)


def interval(function, scores, repetitions=20_000):
    values, ends = library.get_interval_estimates(
        {"x": scores}, lambda *x: np.array([function(*x)]), reps=repetitions
    )
    return [float(values["x"][0]), *(float(end) for end in ends["x"][:, 0])]


fixture = {
    "first": first.tolist(),
    "second": second.tolist(),
    "interquartile mean": interval(metrics.aggregate_iqm, first),
    "median": interval(metrics.aggregate_median, first),
    "mean": interval(metrics.aggregate_mean, first),
    "optimality gap": interval(metrics.aggregate_optimality_gap, first),
    "probability of improvement": interval(metrics.probability_of_improvement, (first, second), 2000),
    "thresholds": thresholds.tolist(),
    "profile": [library.run_score_deviation(first, threshold) for threshold in thresholds],
}
(Path(__file__).parent / "rliable.json").write_text(json.dumps(fixture, indent=1) + "\n")
