"""Imported as `palaestra.envs.tasks`: environments of our own."""
