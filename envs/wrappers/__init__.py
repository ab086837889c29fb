"""Imported as `palaestra.envs.wrappers`: wrappers of single environments, by name, and of `Envs`."""
