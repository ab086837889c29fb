"""Imported as `palaestra.training.settings`: what a run is asked to be."""
