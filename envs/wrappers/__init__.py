"""Imported as `palaestra.envs.wrappers`: what changes what an environment shows."""
