"""Rewards that are learned or counted beside the environment's: `palaestra.training.rewards`."""
