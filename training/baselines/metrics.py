"""Stable-Baselines3's metrics under our names."""

from __future__ import annotations

from typing import Any

from ...agents.agent import Metrics

# Group of those that we have no name for.
GROUP = "sb3/"
# Stable-Baselines3's names of what ours log too.
METRIC_NAMES = {
    "train/policy_gradient_loss": "loss/policy",
    "train/policy_loss": "loss/policy",
    "train/actor_loss": "loss/policy",
    "train/value_loss": "loss/value",
    "train/critic_loss": "loss/value",
    "train/approx_kl": "policy/approx_kl",
    "train/clip_fraction": "policy/clip_fraction",
    "train/explained_variance": "value/explained_variance",
    "train/learning_rate": "policy/learning_rate",
    "rollout/exploration_rate": "policy/epsilon",
}


def translated(values: dict[str, Any], algorithm: str) -> Metrics:
    """Stable-Baselines3's metrics under our names, `sb3/...` where we have none; without what we count ourselves."""
    metrics: Metrics = {}
    for name, value in values.items():
        group, _, rest = name.partition("/")
        if name == "train/entropy_loss":
            metrics["policy/entropy"] = -float(value)
        elif name == "train/loss" and "DQN" in algorithm:
            metrics["loss/q"] = float(value)
        elif name in METRIC_NAMES:
            metrics[METRIC_NAMES[name]] = float(value)
        elif group == "train" and rest != "n_updates":
            metrics[GROUP + rest] = float(value)
    return metrics
