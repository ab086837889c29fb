"""Imported as `palaestra.training`."""
