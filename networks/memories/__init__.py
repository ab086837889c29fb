"""Imported as `palaestra.networks.memories`."""
