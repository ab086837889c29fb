"""Imported as `palaestra.envs.checking`: is an environment sound, and what to change where it is not."""
