"""Imported as `palaestra.training.rewards`: rewards that are learned beside the environment's, or in their place."""
