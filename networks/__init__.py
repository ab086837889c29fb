"""Imported as `palaestra.networks`."""
