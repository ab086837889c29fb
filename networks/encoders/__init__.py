"""Imported as `palaestra.networks.encoders`."""
