"""Imported as `palaestra.configs`."""
