"""Imported as `palaestra.agents`."""
