"""Imported as `palaestra.networks.compiled`: an optimiser step as one compiled function."""
