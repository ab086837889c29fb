"""Imported as `palaestra.envs.backends`: what steps a batch of environments."""
