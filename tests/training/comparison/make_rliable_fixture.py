"""Makes `rliable.json`: what rliable 1.2 says about some scores, for ours to be compared with.

rliable does not import beside pandas 3, so it gets an environment of its own:

    python -m venv /tmp/rliable && /tmp/rliable/bin/pip install "rliable==1.2.0" "pandas<3"
    /tmp/rliable/bin/python tests/training/make_rliable_fixture.py > tests/training/rliable.json
"""

import json

import numpy as np
from rliable import library, metrics

REPEATS = 50_000
STATISTICS = {
    "mean": metrics.aggregate_mean,
    "median": metrics.aggregate_median,
    "interquartile mean": metrics.aggregate_iqm,
    "optimality gap": metrics.aggregate_optimality_gap,
}


def main():
    generator = np.random.default_rng(6)
    # Runs by tasks, of very different spread; two decimals and a ceiling, so that there are ties.
    scores = {
        "x": generator.normal([0.9, 0.6, 0.2, 1.1], [0.02, 0.2, 0.1, 0.5], size=(10, 4)),
        "y": generator.normal([0.9, 0.4, 0.3, 1.0], [0.05, 0.2, 0.1, 0.5], size=(7, 4)),
    }
    scores = {name: np.minimum(each, 1.2).round(2) for name, each in scores.items()}
    found = {"repeats": REPEATS, "scores": {name: each.T.tolist() for name, each in scores.items()}}
    for name, function in STATISTICS.items():
        points, intervals = library.get_interval_estimates(scores, function, reps=REPEATS)
        found[name] = {key: [float(points[key]), *intervals[key].ravel().tolist()] for key in scores}
    points, intervals = library.get_interval_estimates(
        {"x,y": (scores["x"], scores["y"])}, metrics.probability_of_improvement, reps=2_000
    )
    found["probability of improvement"] = [float(points["x,y"]), *intervals["x,y"].ravel().tolist()]
    thresholds = np.linspace(0.0, 1.2, 13)
    shares, bands = library.create_performance_profile(scores, thresholds, reps=REPEATS)
    found["profile"] = {
        "thresholds": thresholds.tolist(),
        **{key: [shares[key].tolist(), *bands[key].tolist()] for key in scores},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
